// The room to drive in: record episodes by hand, as LeRobot does (→ keeps, ← discards, Esc ends).

import { Live } from "./viewer.js";
import { Beliefs } from "./plots.js";
import { Form } from "./drive-form.js";
import { Pedals, driven } from "./pedals.js";
import { button, connect, el, number, plural, refresh, say, stem, store } from "./page.js";

const FRESH = 300; // [ms] after the end of an episode in which keys, still held from driving, decide nothing
const MOST = 1000 / 60; // [ms] between messages about the pedals
const SMOOTHING = 0.15; // weight of the newest latency

export function driveRoom(root) {
  const form = new Form(root);
  const session = new Session(form);
  root.append(form.welcome, form.element, session.element, session.summary);
  return { update: (state) => form.update(state), show: (wish) => form.wish(wish), hide: () => session.pause() };
}

/**
 * One session of driving. Phases: "idle", "waiting" (an episode stands at its first frame), "driving", "paused",
 * "ended" (keep or discard?).
 */
class Session {
  constructor(form) {
    this.form = form;
    this.phase = "idle";
    this.pedals = new Pedals();
    this.build();
    this.live = new Live(this.canvas);
    form.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    form.style.addEventListener("change", () => this.send({ type: "style", style: Number(form.style.value) }));
    addEventListener("keydown", (event) => this.keydown(event), { capture: true });
    addEventListener("keyup", (event) => this.pedals.let(event.code), { capture: true });
    addEventListener("blur", () => this.pause());
    document.addEventListener("visibilitychange", () => document.hidden && this.pause());
  }

  build() {
    this.canvas = el("canvas", { id: "drive-canvas", tabindex: 0, role: "application", "aria-label": "The road" });
    this.keep = button("Keep →", () => this.decide("keep"), { id: "drive-keep", class: "primary" });
    this.discard = button("Discard and drive again ←", () => this.decide("discard"), { id: "drive-discard" });
    this.resume = button("Go on", () => this.go(), { id: "drive-resume", class: "primary" });
    this.title = el("strong", {});
    this.hint = el("span", {});
    this.overlay = el("div", { class: "overlay", role: "group", "aria-label": "What next" },
      this.title, this.hint, el("div", { class: "row" }, this.keep, this.resume, this.discard));
    this.status = el("p", { id: "drive-status", role: "status", "aria-live": "polite" });
    this.kept = el("output", { id: "drive-kept" }, "0");
    this.stop = button("Pause", () => (this.phase === "driving" ? this.pause() : this.go()), { id: "drive-pause" });
    this.end = button("End (Esc)", () => this.finish(), { id: "drive-end" });
    this.summary = el("div", { class: "card", hidden: true });
    this.labelPlace = el("span", { class: "field-place" });
    const bar = el("div", { class: "session" }, this.status,
      el("span", { class: "count" }, this.kept, " kept"), this.labelPlace, this.stop, this.end);
    this.place = el("div", {});
    this.element = el("div", { class: "driving", hidden: true },
      bar, this.place, el("div", { class: "stage" }, this.canvas, this.overlay), this.touchButtons(), this.readouts());
  }

  /** Pedals and wheel for fingers; the style sheet shows them on touch screens. */
  touchButtons() {
    const pedal = (text, label, action) => {
      const element = el("button", { type: "button", class: "pedal", "aria-label": label, tabindex: -1 }, text);
      this.pedals.touch(element, action);
      return element;
    };
    return el("div", { class: "touch" },
      el("div", {}, pedal("◀", "steer left", "left"), pedal("▶", "steer right", "right")),
      el("div", {}, pedal("▼", "brake", "slower"), pedal("▲", "accelerate", "faster")));
  }

  readouts() {
    const reading = (label, unit, id) => {
      const value = el("output", id ? { id } : {}, "–");
      const element = el("div", { class: "reading" }, el("span", {}, label), el("span", {}, value, ` ${unit}`));
      return { value, element };
    };
    this.reading = {
      speed: reading("Speed", "km/h", "drive-speed"), gap: reading("Gap", "m"), headway: reading("Headway", "s"),
      time: reading("Time", "s"), latency: reading("Latency", "ms", "drive-latency"), late: reading("Late", "ms"),
    };
    const gauge = (label, ends) => {
      const needle = el("i", {});
      return { needle, element: el("div", { class: "reading gauge" }, el("span", {}, label),
        el("span", { class: "centred bar", role: "img", "aria-label": ends }, needle)) };
    };
    this.gauge = { pedal: gauge("Brake · accelerate", "pedals"), wheel: gauge("Left · right", "steering wheel") };
    this.beliefPlace = el("div", { class: "reading wide", hidden: true });
    const { speed, gap, headway, time, latency, late } = this.reading;
    const shown = [speed, gap, headway, this.gauge.pedal, this.gauge.wheel, time, latency, late];
    return el("div", { class: "readings" }, shown.map(({ element }) => element), this.beliefPlace);
  }

  start() {
    const request = this.form.request();
    Object.assign(this, { request, file: request.file, keptCount: 0, latency: null, echoed: null, sent: null });
    this.socket?.close();
    this.summary.hidden = true;
    this.form.element.hidden = true;
    this.form.welcome.hidden = true;
    this.element.hidden = false;
    this.labelPlace.replaceChildren(...(request.file ? [this.form.fields.style] : []));
    store.busy = true;
    this.enter("starting", "Starting the simulator…");
    this.socket = connect("/ws/drive", request, (message) => this.hear(message),
      { place: this.place, onLost: (tidy) => (tidy ? this.close() : this.enter("lost", "The session is interrupted.")) });
  }

  send(message) {
    if (this.phase !== "idle") this.socket?.send(message);
  }

  hear(message) {
    const { type } = message;
    if (type === "begin") this.begin(message);
    else if (type === "frame") this.show(message);
    else if (type === "paused") this.paused(message);
    else if (type === "resumed" && this.phase !== "driving") this.enter("driving", this.what());
    else if (type === "ended") this.ended(message);
    else if (type === "kept") this.count(message.kept, message.file);
    else if (type === "discarded") say("discarded");
    else if (type === "error") this.status.textContent = message.error;
    else if (type === "finished") this.close();
  }

  what() {
    const name = this.request.scenario;
    return this.file ? `Recording ${name} into ${stem(this.file)}` : `Driving ${name}, not recorded`;
  }

  count(kept, file = this.file) {
    Object.assign(this, { keptCount: kept, file });
    this.kept.textContent = kept;
  }

  begin(message) {
    this.scene = window.studio.begun = message;
    this.pedals.lock = message.lock;
    this.count(message.kept);
    this.canvas.style.maxWidth = `calc(60vh * ${message.size[0] / message.size[1]})`; // all of it is on the screen
    this.live.begin(message.road, message.size, null);
    this.beliefs = message.num_codes ? new Beliefs(message.codes, false, message.names) : null;
    this.beliefPlace.hidden = !this.beliefs;
    if (this.beliefs) this.beliefPlace.replaceChildren(el("span", {}, "Posterior's belief"), this.beliefs.element);
    this.enter("waiting", this.what());
    this.canvas.focus({ preventScroll: true });
    if (!this.looping) this.loop(performance.now());
  }

  paused({ keepable }) {
    this.keepable = keepable;
    this.enter("paused", "Paused");
  }

  ended({ outcome, style, keepable }) {
    this.keepable = keepable;
    const words = { "": "The episode has ended", complete: "The episode is complete" };
    const text = words[outcome] ?? outcome[0].toUpperCase() + outcome.slice(1);
    this.enter("ended", style ? `${text}: ${style}` : text);
  }

  /** Go to another phase: what is held has to be pressed again, and the overlay says what the keys do now. */
  enter(phase, text) {
    const driving = phase === "driving";
    if (!driving) this.pedals.release();
    Object.assign(this, { phase, since: performance.now(), sent: driving ? this.sent : null });
    this.status.textContent = text;
    const hints = {
      waiting: "Drive off with the arrows or W A S D; Space pauses.",
      paused: `Space goes on, ${this.keepable ? "→ or Enter keeps what there is, " : ""}← or Backspace discards, Esc ends.`,
      ended: this.keepable ? "→ or Enter keeps, ← or Backspace discards, Esc ends."
        : `${this.file ? "It cannot be kept: " : ""}← or Backspace drives again, Esc ends.`,
    };
    this.overlay.hidden = driving || !(phase in hints);
    this.title.textContent = { waiting: "Ready", paused: "Paused", ended: text }[phase] ?? "";
    this.hint.textContent = hints[phase] ?? "";
    this.keep.hidden = (phase !== "ended" && phase !== "paused") || !this.keepable;
    this.canvas.dataset.phase = phase;
    this.discard.hidden = phase !== "ended" && phase !== "paused";
    this.discard.textContent = this.file ? "Discard and drive again ←" : "Drive again ←";
    this.resume.hidden = phase !== "paused";
    this.stop.textContent = driving ? "Pause" : phase === "waiting" ? "Drive" : "Go on";
    this.stop.hidden = !["driving", "waiting", "paused"].includes(phase);
  }

  pause() {
    if (this.phase !== "driving") return;
    this.pedals.release();
    this.send({ type: "pedals", acceleration: 0, steering: 0, at: performance.now() });
    this.send({ type: "pause" });
    this.keepable = false; // until the server says so
    this.enter("paused", "Paused");
  }

  go() {
    if (this.phase !== "paused" && this.phase !== "waiting") return;
    this.send({ type: "resume" });
    this.enter("driving", this.what());
    this.canvas.focus({ preventScroll: true });
  }

  /** Keep or discard what was driven; the server begins the next episode. */
  decide(verdict) {
    if (performance.now() - this.since < FRESH) return;
    if (this.phase !== "ended" && this.phase !== "paused") return;
    if (verdict === "keep" && !this.keepable) return;
    this.send({ type: verdict });
    this.enter("starting", verdict === "keep" ? "Kept; the next one…" : "The next one…");
  }

  finish() {
    if (this.phase === "starting" || this.phase === "lost") return this.close();
    this.send({ type: "end" });
    this.enter("ending", "Ending…");
  }

  close() {
    this.phase = "idle";
    this.socket?.close();
    this.socket = null;
    this.live.stop();
    store.busy = false;
    this.element.hidden = true;
    this.form.fields.recorder.before(this.form.fields.style);
    this.form.element.hidden = false;
    this.summarise();
    this.form.start.focus();
    refresh().catch(() => {}); // the file is new, or has grown
  }

  summarise() {
    const name = this.file?.includes("/") ? this.file : `demos/${this.file}.safetensors`;
    const text = this.file ? `${plural(this.keptCount, "episode")} in ${stem(this.file)}.` : "The drive has ended.";
    const links = this.file && this.keptCount ? [
      button("Train on it", () => (location.hash = `train?${new URLSearchParams({ file: name })}`), { class: "primary" }),
      button("Look at them", () => (location.hash = `library?${new URLSearchParams({ file: name })}`)),
    ] : [];
    this.summary.replaceChildren(el("p", {}, text), el("div", { class: "row" }, links));
    this.summary.hidden = false;
    say(text);
  }

  show(message) {
    window.studio.driving = message;
    this.live.push(message);
    const { speed, gap, headway, pedals, belief, input, late, t } = message;
    const moment = this.scene.seconds ? `${number(t, 1)} / ${number(this.scene.seconds, 0)}` : number(t, 1);
    this.measure(input);
    this.pedals.adapt(speed);
    const values = { speed: number(3.6 * speed), gap: number(gap, 1), headway: number(headway, 1), time: moment,
      latency: number(this.latency ?? NaN), late: number(late) };
    for (const [name, text] of Object.entries(values)) this.reading[name].value.textContent = text;
    const [acceleration, steering] = pedals ?? [0, 0];
    this.gauge.pedal.needle.style.transform = `scaleX(${acceleration})`;
    this.gauge.wheel.needle.style.transform = `scaleX(${steering})`;
    this.beliefs?.show(belief);
  }

  /** The time from the pedals to the frame that knows of them; a frame repeats the input of the last one. */
  measure(input) {
    if (input == null || input === this.echoed) return;
    this.echoed = input;
    const latency = performance.now() - input;
    this.latency = this.latency === null ? latency : this.latency + SMOOTHING * (latency - this.latency);
  }

  loop(last) {
    this.looping = this.phase !== "idle";
    if (!this.looping) return;
    requestAnimationFrame((now) => {
      const pad = this.pedals.gamepad();
      for (const action of pad?.actions ?? []) {
        if (action === "pause") (this.phase === "driving" ? this.pause() : this.go());
        else this.decide(action);
      }
      const pedals = this.pedals.step(Math.min(0.1, (now - last) / 1000), pad);
      this.tell(pedals, performance.now());
      this.loop(now);
    });
  }

  /** Send changed pedals, 60 times a second at most. The first of an episode start it, so they must not be zero. */
  tell({ acceleration, steering }, at) {
    const waiting = this.phase === "waiting";
    if (!waiting && this.phase !== "driving") return;
    const { sent } = this;
    if (sent ? sent.acceleration === acceleration && sent.steering === steering : waiting && !acceleration && !steering) {
      return;
    }
    if (at - (this.sentAt ?? 0) < MOST - 1) return;
    Object.assign(this, { sent: { acceleration, steering }, sentAt: at });
    this.send({ type: "pedals", acceleration, steering, at });
    if (waiting) this.enter("driving", this.what());
  }

  keydown(event) {
    if (this.phase === "idle" || document.getElementById("drive").hidden) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input, dialog")) return;
    const onButton = event.target.closest?.("button, a") && (event.key === "Enter" || event.key === " ");
    if (onButton || !this.press(event)) return;
    event.preventDefault(); // arrows and Space must not move the page
    event.stopPropagation();
  }

  /** Do what a key stands for; true if it stands for something. */
  press(event) {
    const { key, repeat } = event, action = driven(event), moves = ["driving", "waiting"].includes(this.phase);
    if (action && moves) {
      if (!repeat) this.pedals.hold(event.code, action);
      return true;
    }
    const does = {
      " ": () => (this.phase === "driving" ? this.pause() : this.go()),
      Escape: () => (this.phase === "driving" ? this.pause() : this.finish()),
      ArrowRight: () => this.decide("keep"), Enter: () => this.decide("keep"),
      ArrowLeft: () => this.decide("discard"), Backspace: () => this.decide("discard"),
    }[key];
    const fresh = !repeat && performance.now() - this.since >= FRESH;
    if (does && (fresh || (key === " " && !repeat))) does();
    return Boolean(does || action);
  }
}

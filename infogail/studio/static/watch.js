// The room to watch in: runs side by side from the same start, with a knob for the code of each.

import { Live, codeColour } from "./viewer.js";
import { Beliefs, Plot } from "./plots.js";
import { api, button, codeName, codesOf, connect, el, errorLine, field, number, refresh, say, stem, store } from "./page.js";

const MOST_PANELS = 8;
const SPAN = 12; // [s] of the small plots
const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];

export function watchRoom(root) {
  const room = new Watching();
  root.append(room.form, room.board);
  return { update: (state) => room.update(state), show: (wish) => room.wish(wish), hide: () => room.say("pause") };
}

class Watching {
  constructor() {
    this.runs = el("div", { id: "watch-runs", class: "choices", role: "group", "aria-label": "Runs" });
    this.seed = el("input", { id: "watch-seed", type: "number", min: 0, max: 2 ** 31 - 1, value: 0 });
    this.demonstration = el("input", { id: "watch-demonstration", type: "number", min: 0, placeholder: "none" });
    this.start = el("button", { id: "watch-start", type: "submit", class: "primary" }, "Start");
    this.error = errorLine();
    this.form = el("form", { class: "form", onsubmit: (event) => { event.preventDefault(); this.begin(); } },
      this.runs, field("Scene", this.seed), field("Start of demonstration", this.demonstration), this.start, this.error);
    this.build();
  }

  build() {
    this.play = button("Pause", () => this.toggle(), { id: "watch-play" });
    this.speed = el("select", { id: "watch-speed", "aria-label": "Speed", onchange: () => this.changeSpeed() },
      SPEEDS.map((value) => el("option", { value, selected: value === 1 }, `${value}×`)));
    this.film = el("span", { class: "row" });
    const controls = el("div", { class: "session" }, this.play,
      button("Step", () => this.step(), { id: "watch-step" }), this.speed,
      button("Again", () => this.restart(false), { id: "watch-again" }),
      button("Another scene", () => this.restart(true), { id: "watch-another" }), this.film);
    this.place = el("div", {});
    this.panels = el("div", { id: "watch-panels", class: "watching" });
    this.board = el("div", { class: "board", hidden: true }, this.place, controls, this.panels);
    this.shown = [];
  }

  update(state) {
    const ready = state.runs.filter((run) => run.state === "finished" && !run.problem);
    const wanted = ready.some((run) => run.name === this.wanted);
    const chosen = wanted ? [this.wanted] : this.chosen();
    if (wanted) this.wanted = null;
    const boxes = ready.map((run) => {
      const box = el("input", { type: "checkbox", value: run.name });
      box.checked = chosen.includes(run.name);
      return el("label", {}, box, el("span", {}, stem(run.name)), el("small", {}, `${run.task}, ${codesOf(run)}`));
    });
    this.runs.replaceChildren(...(boxes.length ? boxes : [el("p", { class: "quiet" }, "No run yet: train one first.")]));
    if (boxes.length && !this.chosen().length) boxes[0].querySelector("input").checked = true;
    this.start.disabled = !boxes.length;
    this.offerFilm();
  }

  chosen() {
    return [...this.runs.querySelectorAll("input:checked")].map((box) => box.value);
  }

  async wish({ run }) {
    if (!run) return;
    this.wanted = run;
    await refresh().catch(() => {}); // it may be newer than the list
    if (this.wanted) this.update(store.state);
  }

  begin() {
    const runs = this.chosen().map((name) => store.state.runs.find((run) => run.name === name));
    const panels = runs.flatMap((run) => run.codes.map((code) => ({ run: run.name, code }))).slice(0, MOST_PANELS);
    this.error.tell(panels.length ? "" : "Choose a run.");
    if (!panels.length) return;
    this.close();
    this.asked = panels;
    this.board.hidden = false;
    this.playing(true);
    this.offerFilm();
    const first = { type: "begin", panels, ...this.scene(), speed: Number(this.speed.value) };
    this.socket = connect("/ws/watch", first, (message) => this.hear(message),
      { place: this.place, onBinary: (data) => this.picture(data), onLost: () => this.playing(false) });
  }

  scene() {
    const number = this.demonstration.value;
    return { seed: Number(this.seed.value) || 0, demonstration: number === "" ? null : Number(number) };
  }

  close() {
    this.socket?.close();
    this.socket = null;
    for (const panel of this.shown) panel.close();
    this.shown = [];
    this.panels.replaceChildren();
  }

  hear(message) {
    if (message.type === "begin") this.opened(message);
    else if (message.type === "frame") {
      window.studio.watched = message;
      message.panels.forEach((frame, k) => this.shown[k].show(frame));
    } else if (message.type === "ended") {
      this.playing(false);
      say("the episode has ended");
    } else if (message.type === "error") this.error.tell(message.error);
  }

  opened({ kind, panels, demonstrations }) {
    this.demonstration.max = demonstrations - 1;
    if (this.shown.length === panels.length) {
      panels.forEach((panel, k) => this.shown[k].begin(panel));
      return;
    }
    this.shown = panels.map((panel, k) =>
      new WatchedPanel(kind, panel, (code) => this.socket.send({ type: "code", panel: k, code })));
    this.panels.replaceChildren(...this.shown.map((panel) => panel.element));
    panels.forEach((panel, k) => this.shown[k].begin(panel));
  }

  picture(data) {
    const panel = this.shown[new Uint8Array(data, 0, 1)[0]];
    createImageBitmap(new Blob([data.slice(1)], { type: "image/jpeg" })).then((image) => panel?.paint(image));
  }

  playing(playing) {
    this.isPlaying = playing;
    this.play.textContent = playing ? "Pause" : "Play";
  }

  say(kind) {
    this.socket?.send({ type: kind });
    if (kind === "pause") this.playing(false);
  }

  toggle() {
    const play = !this.isPlaying;
    this.say(play ? "play" : "pause");
    this.playing(play);
  }

  step() {
    this.say("step");
    this.playing(false);
  }

  changeSpeed() {
    this.socket?.send({ type: "speed", speed: Number(this.speed.value) });
  }

  restart(another) {
    if (another) {
      this.seed.value = (Number(this.seed.value) + 1) % 2 ** 31;
      this.demonstration.value = "";
    }
    this.socket?.send({ type: "restart", ...this.scene() });
    this.playing(true);
  }

  /** Save the first run as a video with the renderer of `infogail render`, and link to it. */
  offerFilm() {
    const run = store.state?.runs.find(({ name }) => name === this.asked?.[0]?.run);
    if (!run) return this.film.replaceChildren();
    const save = button(run.filming === "" ? "Filming…" : "Save as video", () => this.save(run), { id: "watch-film" });
    save.disabled = run.filming === "";
    const links = run.films.map((name) =>
      el("a", { href: `/film?${new URLSearchParams({ run: run.name, name })}`, download: `${stem(run.name)}-${name}` }, name));
    this.film.replaceChildren(save, ...links);
    if (run.filming) this.error.tell(run.filming);
    if (run.filming === "") setTimeout(() => refresh().catch(() => {}), 1000);
  }

  async save(run) {
    try {
      await api("POST", "/api/film", { run: run.name, seed: Number(this.seed.value) || 0 });
      await refresh();
    } catch (error) {
      this.error.tell(error);
    }
  }
}

/** One driver: what it does, the knob of its code, and what was measured. */
class WatchedPanel {
  constructor(kind, { label, codes, names, graded, code, size }, turn) {
    Object.assign(this, { kind, codes, graded, turn });
    this.canvas = el("canvas", { role: "img", "aria-label": label });
    this.live = kind === "driving" ? new Live(this.canvas) : null;
    this.name = el("b", {}, label);
    this.words = el("span", { class: "quiet" });
    this.knob = graded ? this.slider(codes, names) : this.buttons(codes, names);
    this.beliefs = codes.length > 1 ? new Beliefs(codes, graded, names) : null;
    const bounded = { span: SPAN, xUnit: "s" };
    this.plots = kind === "driving" ? {
      speed: new Plot("Speed", { ...bounded, unit: "km/h" }), headway: new Plot("Headway", { ...bounded, unit: "s", low: 0 }),
      acceleration: new Plot("Acceleration", { ...bounded, unit: "m/s²", low: -5, high: 5 }),
    } : { return: new Plot("Return", bounded) };
    if (this.beliefs) this.plots.belief = new Plot("Belief", { ...bounded, low: 0, high: 1 });
    this.element = el("article", { class: `watched ${kind}` },
      el("header", { class: "session" }, this.name, this.words, this.knob), this.canvas,
      this.beliefs?.element, el("div", { class: "plots" }, Object.values(this.plots).map(({ element }) => element)));
    if (size && size[0] < 700) this.element.classList.add("narrow");
    this.mark(code);
  }

  buttons(codes, names) {
    const made = codes.map((code, k) => {
      const one = button(codeName(code, false, names[k]), () => this.set(code), { class: "code", "aria-pressed": "false" });
      one.style.setProperty("--code", codeColour(k));
      return one;
    });
    return el("span", { class: "knob", role: "group", "aria-label": "Code", hidden: codes.length < 2 }, made);
  }

  slider(codes, names) {
    const range = el("input", { type: "range", min: codes[0], max: codes.at(-1), step: 0.01, "aria-label": "Code" });
    range.addEventListener("input", () => this.set(Number(range.value)));
    Object.assign(this, { range, output: el("output", {}) });
    return el("span", { class: "knob" }, names[0] ?? "", range, names.at(-1) ?? "", this.output);
  }

  set(code) {
    this.turn(code);
    this.mark(code);
  }

  mark(code) {
    this.code = code;
    if (this.graded) {
      if (document.activeElement !== this.range) this.range.value = code;
      this.output.textContent = codeName(code, true);
    } else {
      [...this.knob.children].forEach((one, k) => one.setAttribute("aria-pressed", String(this.codes[k] === code)));
    }
    if (this.live) this.live.colour = this.colour();
  }

  colour() {
    const nearest = this.codes.reduce((best, code, k) =>
      Math.abs(code - this.code) < Math.abs(this.codes[best] - this.code) ? k : best, 0);
    return codeColour(nearest);
  }

  begin({ road, size }) {
    if (!this.live) return;
    this.canvas.style.aspectRatio = `${size[0]} / ${size[1]}`;
    this.live.begin(road, size, this.colour());
  }

  show(frame) {
    this.live?.push(frame);
    if (frame.code !== this.code) this.mark(frame.code);
    const reading = this.live ? `${number(3.6 * frame.speed)} km/h` : `return ${number(frame.return, 1)}`;
    this.words.textContent = [reading, frame.outcome].filter(Boolean).join(" · ");
    this.beliefs?.show(frame.belief);
    const values = { speed: [3.6 * frame.speed], headway: [frame.headway], acceleration: [frame.acceleration],
      return: [frame.return], belief: frame.belief ?? this.codes.map(() => null) };
    for (const [name, plot] of Object.entries(this.plots)) plot.push(frame.t, values[name]);
  }

  paint(image) {
    Object.assign(this.canvas, { width: image.width, height: image.height });
    this.canvas.getContext("2d").drawImage(image, 0, 0);
  }

  close() {
    this.live?.stop();
  }
}

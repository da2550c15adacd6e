// The room to train in: progress, curves, and how every code drives so far.

import { Player, codeColour } from "./viewer.js";
import { Plot } from "./plots.js";
import { api, button, connect, duration, el, errorLine, field, fill, number, plural, refresh, say, stem, store } from "./page.js";

const LOOP_SPEED = 2; // of the shows of the policy

export function trainRoom(root) {
  const room = new Training();
  root.append(room.form, room.board);
  return { update: (state) => room.update(state), show: (wish) => room.show(wish), hide() {} };
}

class Training {
  constructor() {
    this.file = el("select", { id: "train-file", onchange: () => this.choose() });
    this.algorithm = el("select", { id: "train-algorithm" });
    this.codes = el("input", { id: "train-codes", type: "number", min: 2, max: 64, placeholder: "recommended" });
    this.graded = el("select", { id: "train-graded" },
      ...[["", "recommended"], ["false", "separate styles"], ["true", "graded, by degree"]]
        .map(([value, text]) => el("option", { value }, text)));
    this.preset = el("select", { id: "train-preset" });
    this.seed = el("input", { id: "train-seed", type: "number", min: 0, value: 0, required: true });
    this.start = el("button", { id: "train-start", type: "submit", class: "primary" }, "Train");
    this.error = errorLine();
    this.form = el("form", { class: "form", onsubmit: (event) => this.train(event) },
      field("Demonstrations", this.file), field("Learner", this.algorithm), field("Codes", this.codes),
      field("Kind of code", this.graded), field("Preset", this.preset), field("Seed", this.seed), this.start, this.error);
    this.build();
  }

  build() {
    this.title = el("strong", { id: "train-title" });
    this.words = el("p", { id: "train-status", role: "status" });
    this.progress = el("progress", { id: "train-progress", max: 1, value: 0, "aria-label": "Progress" });
    this.stop = button("Stop", () => this.act("/api/stop", {}), { id: "train-stop" });
    this.resume = button("Resume", () => this.act("/api/resume", { run: this.state.run }), { id: "train-resume" });
    this.watch = button("Watch it", () => (location.hash = `watch?${new URLSearchParams({ run: this.state.run })}`),
      { id: "train-watch", class: "primary" });
    this.panels = el("div", { id: "train-panels" });
    this.curves = el("div", { class: "plots" });
    this.place = el("div", {});
    this.stopped = el("div", { class: "row" });
    this.heading = el("h2", { hidden: true }, "How each code drives now");
    this.board = el("div", { class: "board" }, this.place, this.stopped,
      el("div", { class: "session" }, this.title, this.words, this.stop, this.resume, this.watch),
      this.progress, this.heading, this.panels, this.curves);
    this.plots = new Map();
    this.apply({ state: "idle", run: null, log: {} });
  }

  update(state) {
    const usable = state.files.filter((file) => !file.problem);
    fill(this.file, usable.map((file) => [file.name, `${stem(file.name)} (${file.task}, ${plural(file.episodes, "episode")})`]),
      this.wanted);
    fill(this.algorithm, state.algorithms.map((name) => [name, name]), this.algorithm.value || "infogail");
    fill(this.preset, state.presets.map(({ name, summary }) => [name, `${name}: ${summary}`]), this.preset.value || "default");
    this.start.disabled = !usable.length;
    const others = state.runs.filter((run) => run.state === "stopped" && !run.problem && run.name !== this.state.run);
    this.stopped.replaceChildren(...others.map((run) =>
      button(`Resume ${stem(run.name)}`, () => this.act("/api/resume", { run: run.name }))));
    this.choose();
  }

  /** Listen from the first visit on, and choose the file that another room asked for. */
  show({ file }) {
    if (file) {
      this.wanted = this.file.value = file;
      this.choose();
    }
    this.socket ??= connect("/ws/train", null, (message) => this.hear(message), { place: this.place });
  }

  choose() {
    const file = store.state.files.find(({ name }) => name === this.file.value);
    const scenario = store.state.scenarios.find(({ name }) => name === file?.task);
    if (file && this.offered !== file.name) { // few demonstrations, and not an expert's
      this.offered = file.name;
      this.preset.value = file.source.startsWith("by hand") && scenario ? "by-hand" : "default";
    }
    this.codes.placeholder = scenario ? `recommended: ${scenario.num_codes}` : "recommended";
  }

  async train(event) {
    event.preventDefault();
    await this.act("/api/train", {
      file: this.file.value, algorithm: this.algorithm.value, preset: this.preset.value, seed: Number(this.seed.value),
      num_codes: this.codes.value === "" ? null : Number(this.codes.value), name: null,
      graded: { "": null, true: true, false: false }[this.graded.value],
    });
  }

  async act(path, body) {
    this.error.tell("");
    try {
      await api("POST", path, body);
      await refresh();
    } catch (error) {
      this.error.tell(error);
    }
  }

  hear(message) {
    if (message.type === "state") {
      window.studio.trained = message;
      const changed = message.state !== this.state.state || message.run !== this.state.run;
      if (message.run !== this.state.run) this.clear();
      this.apply(message);
      if (changed) {
        say(`training: ${message.state}`);
        refresh().catch(() => {}); // the list of runs has changed
      }
    } else if (message.type === "episodes") this.display(message);
  }

  clear() {
    this.player?.close();
    this.player = null;
    this.plots.clear();
    this.curves.replaceChildren();
    this.heading.hidden = true;
    window.studio.shown = null;
  }

  apply(state) {
    this.state = state;
    const training = state.state === "training";
    this.title.textContent = state.run ? stem(state.run) : "";
    const spent = `${duration(state.seconds)}${training && state.left != null ? `, ${duration(state.left)} left` : ""}`;
    const iteration = state.iterations ? `iteration ${state.iteration} of ${state.iterations}, ${spent}` : "";
    const words = {
      idle: "Nothing is being trained.", finished: `finished: ${iteration}`, stopped: `stopped: ${iteration}`,
      training: iteration || "starting: dividing and cloning the demonstrations…", failed: state.error,
    };
    this.words.textContent = words[state.state];
    this.words.classList.toggle("error", state.state === "failed");
    this.progress.value = state.done ?? 0;
    this.progress.hidden = state.state === "idle";
    this.stop.hidden = !training;
    this.resume.hidden = state.state !== "stopped";
    this.watch.hidden = state.state !== "finished";
    this.start.disabled = training || !this.file.options.length;
    for (const [name, points] of Object.entries(state.log ?? {})) this.plot(name).set([{ points, colour: null }]);
  }

  plot(name) {
    if (!this.plots.has(name)) {
      const bounds = /NMI|rate/.test(name) ? { low: 0, high: 1 } : {};
      this.plots.set(name, new Plot(name, { ...bounds, xUnit: "it." }));
      this.curves.append(this.plots.get(name).element);
    }
    return this.plots.get(name);
  }

  /** Play what the policy does now, in loops; a newer show goes on at the moment that the old one was in. */
  display({ episodes }) {
    const time = this.player?.time ?? 0;
    this.player?.close();
    const place = el("div", {});
    this.panels.replaceChildren(place);
    this.heading.hidden = false;
    this.player = new Player(place, episodes, { loop: true, speed: LOOP_SPEED });
    this.player.seek(time);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.player.play();
    window.studio.shown = episodes.map(({ code, style, outcome }) => ({ code, style, outcome, colour: codeColour(code) }));
  }
}


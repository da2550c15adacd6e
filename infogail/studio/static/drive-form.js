// What to drive, and where to record it.

import { el, field, fill, plural, stem, store } from "./page.js";

const NEW = ":new", NONE = ":none"; // no file can be named so

/** The form of the room to drive in. */
export class Form {
  constructor() {
    this.scenario = el("select", { id: "drive-scenario", onchange: () => this.choose() });
    this.file = el("select", { id: "drive-file", onchange: () => this.toggle() });
    this.name = el("input", { id: "drive-name", required: true, autocomplete: "off", spellcheck: "false" });
    this.style = el("select", { id: "drive-style" });
    this.recorder = el("input", { id: "drive-recorder", placeholder: "optional", autocomplete: "name" });
    this.recorder.value = remembered();
    this.run = el("select", { id: "drive-run" });
    this.traffic = el("select", { id: "drive-traffic" });
    this.fields = {
      scenario: field("Drive", this.scenario), file: field("Record into", this.file),
      name: field("New file", this.name), style: field("Style, for judging only", this.style),
      recorder: field("Your name", this.recorder), run: field("Guess my style with", this.run),
      traffic: field("The others drive like", this.traffic),
    };
    this.start = el("button", { id: "drive-start", type: "submit", class: "primary" }, "Start");
    this.element = el("form", { class: "form" }, Object.values(this.fields), this.start);
    this.welcome = el("p", { class: "welcome", hidden: true },
      "Nothing recorded yet: drive, keep some twenty episodes, train on them, and watch what was learnt.");
  }

  update(state) {
    fill(this.scenario, [
      { group: "Scenarios", options: state.scenarios.map(({ name }) => [name, name]) },
      { group: "Roads (driving only)", options: state.roads.map((name) => [name, name]) },
    ]);
    this.welcome.hidden = state.files.length + state.runs.length > 0;
    this.choose();
  }

  wish({ scenario }) {
    if (!scenario || ![...this.scenario.options].some(({ value }) => value === scenario)) return;
    this.scenario.value = scenario;
    this.choose();
  }

  /** The other fields offer what belongs to the chosen scenario or road. */
  choose() {
    const name = this.scenario.value, { files, runs } = store.state, scenario = this.known();
    const own = files.filter((file) => file.task === name && file.editable && !file.problem);
    const mine = `${name}-by-hand`;
    const changed = this.offered !== name;
    this.offered = name;
    if (changed) this.name.value = freeName(mine, files);
    const existing = own.map((file) => [stem(file.name), `${stem(file.name)} (${plural(file.episodes, "episode")})`]);
    fill(this.file, [...existing, [NEW, "a new file"], [NONE, "do not record"]],
      changed ? (own.some((file) => stem(file.name) === mine) ? mine : NEW) : null);
    fill(this.style, [["-1", "unlabelled"], ...(scenario?.styles ?? []).map((style, k) => [String(k), style])],
      changed ? "-1" : null);
    const ready = runs.filter((run) => !run.problem && run.state !== "training");
    fill(this.run, [["", "no run"],
      ...ready.filter((run) => run.posterior && run.task === name).map((run) => [run.name, stem(run.name)])]);
    fill(this.traffic, [["", "highway-env's own"],
      ...ready.filter((run) => run.traffic).map((run) => [run.name, stem(run.name)])]);
    this.toggle();
  }

  toggle() {
    const scenario = this.known(), records = scenario && this.file.value !== NONE, { fields } = this;
    fields.file.hidden = fields.style.hidden = !scenario;
    fields.name.hidden = !scenario || this.file.value !== NEW;
    this.name.disabled = fields.name.hidden;
    fields.style.hidden = fields.recorder.hidden = !records;
    fields.run.hidden = !scenario || this.run.options.length < 2;
    fields.traffic.hidden = Boolean(scenario);
  }

  known() {
    return store.state.scenarios.find(({ name }) => name === this.scenario.value);
  }

  request() {
    const scenario = this.known(), file = this.file.value === NEW ? this.name.value.trim() : this.file.value;
    remember(this.recorder.value.trim());
    return {
      type: "begin", scenario: this.scenario.value,
      run: (scenario && this.run.value) || null, traffic: (!scenario && this.traffic.value) || null,
      file: scenario && file !== NONE ? file : null, style: scenario ? Number(this.style.value) : -1,
      recorder: this.recorder.value.trim(), seed: null,
    };
  }
}

function freeName(name, files) {
  const taken = new Set(files.map((file) => stem(file.name)));
  let free = name;
  for (let k = 2; taken.has(free); k++) free = `${name}-${k}`;
  return free;
}

function remembered() {
  try { return localStorage.getItem("recorder") ?? ""; } catch { return ""; }
}

function remember(name) {
  try { localStorage.setItem("recorder", name); } catch { /* a browser that stores nothing */ }
}

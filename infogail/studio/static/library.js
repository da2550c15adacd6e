// The room of what has been recorded and trained: look at every episode, make new files of old ones.

import { Player } from "./viewer.js";
import { Plot } from "./plots.js";
import { api, ask, button, duration, el, errorLine, field, number, plural, refresh, say, stem, store, when } from "./page.js";

export function libraryRoom(root) {
  const room = new Library();
  root.append(room.element);
  return { update: (state) => room.update(state), show: (wish) => room.wish(wish), hide: () => room.player?.pause() };
}

class Library {
  constructor() {
    this.selected = new Set(); // names of files, runs and forecasts
    this.error = errorLine();
    this.upload = el("input", { id: "library-upload", type: "file", accept: ".safetensors", multiple: true, class: "visually-hidden" });
    this.upload.addEventListener("change", () => this.take(this.upload.files));
    this.drop = el("label", { class: "drop" }, "Drop a file of demonstrations here, or choose one", this.upload);
    this.files = el("tbody", { id: "library-files" });
    this.runs = el("tbody", { id: "library-runs" });
    this.forecasts = el("tbody", { id: "library-forecasts" });
    this.noFiles = el("p", { class: "quiet" }, "No demonstrations yet: record some in the room Drive.");
    this.noRuns = el("p", { class: "quiet" }, "No runs yet.");
    this.noForecasts = el("p", { class: "quiet" }, "No forecasts yet: 'infogail forecast FILE' makes one.");
    this.merge = button("Merge", () => this.askMerge(), { id: "library-merge" });
    this.remove = button("Delete", () => this.askDelete(), { id: "library-delete", class: "danger" });
    this.detail = el("div", { id: "library-detail", hidden: true });
    this.element = el("div", { class: "library" },
      el("div", { class: "session" }, el("h2", {}, "Demonstrations"), this.merge, this.remove), this.error,
      table(["", "File", "Task", "Episodes", "Driven", "Recorded by", "Styles", "Changed"], this.files), this.noFiles,
      this.drop, this.detail, el("h2", {}, "Runs"),
      table(["", "Run", "Task", "Learner", "Codes", "State", "Measured"], this.runs), this.noRuns, el("h2", {}, "Forecasts"),
      table(["", "Forecast", "Paths", "Held out", "Cells", "Goals", "Measured"], this.forecasts), this.noForecasts);
    for (const kind of ["dragover", "dragleave", "drop"]) this.drop.addEventListener(kind, (event) => this.dragged(event));
  }

  update(state) {
    const names = new Set([...state.files, ...state.runs, ...state.forecasts].map(({ name }) => name));
    for (const name of this.selected) if (!names.has(name)) this.selected.delete(name);
    this.files.replaceChildren(...state.files.map((file) => this.fileRow(file)));
    this.runs.replaceChildren(...state.runs.map((run) => this.runRow(run)));
    this.noFiles.hidden = state.files.length > 0;
    this.noRuns.hidden = state.runs.length > 0;
    this.forecasts.replaceChildren(...state.forecasts.map((forecast) => this.forecastRow(forecast)));
    this.noForecasts.hidden = state.forecasts.length > 0;
    if (this.open && !names.has(this.open)) this.shut();
    this.count();
  }

  fileRow(file) {
    const name = file.problem ? el("span", {}, stem(file.name)) : button(stem(file.name), () => this.look(file.name), { class: "link" });
    const styles = Object.entries(file.styles).map(([style, count]) => `${count} ${style}`).join(", ");
    const cells = file.problem ? [name, el("td", { colspan: 6, class: "error" }, file.problem)]
      : [name, file.task, file.episodes, duration(file.seconds), file.source || "–", styles, when(file.modified)];
    return this.row(file.name, cells);
  }

  runRow(run) {
    const { style_nmi: nmi, success_rate: success, return_mean: mean } = run.metrics ?? {};
    const measured = [nmi != null && `style NMI ${number(nmi, 2)}`, success != null && `success ${number(success, 2)}`,
      mean != null && `return ${number(mean, 1)}`].filter(Boolean).join(", ");
    const finished = run.state === "finished" && !run.problem;
    const watch = () => (location.hash = `watch?${new URLSearchParams({ run: run.name })}`);
    const name = finished ? button(stem(run.name), watch, { class: "link", title: "Watch it" }) : el("span", {}, stem(run.name));
    const codes = [run.codes.length, run.names.filter(Boolean).join(", ")].filter(Boolean).join(": ");
    const cells = [name, run.task, run.algorithm, codes, run.problem ?? run.state, measured || "–"];
    return this.row(run.name, cells);
  }

  forecastRow({ name, metrics, problem }) {
    const open = () => (location.hash = `forecast?${new URLSearchParams({ forecast: name })}`);
    const { paths, held_out_paths: heldOut, columns, rows, goals, nll_per_step: nll } = metrics ?? {};
    const cells = problem ? [el("span", {}, stem(name)), el("td", { colspan: 5, class: "error" }, problem)]
      : [button(stem(name), open, { class: "link", title: "Look ahead" }), paths ?? "–", heldOut ?? "–",
        columns ? `${columns} × ${rows}` : "–", goals ?? "–", nll != null ? `-log P per move ${number(nll, 2)}` : "–"];
    return this.row(name, cells);
  }

  row(name, [first, ...cells]) {
    const box = el("input", { type: "checkbox", value: name, "aria-label": `Choose ${stem(name)}` });
    box.checked = this.selected.has(name);
    box.addEventListener("change", () => {
      if (box.checked) this.selected.add(name);
      else this.selected.delete(name);
      this.count();
    });
    const cell = (content) => (content?.tagName === "TD" ? content : el("td", {}, content));
    return el("tr", { class: name === this.open ? "open" : null }, el("td", {}, box), el("th", { scope: "row" }, first), cells.map(cell));
  }

  count() {
    const files = store.state.files.filter(({ name }) => this.selected.has(name));
    this.merge.disabled = files.length < 2;
    this.remove.disabled = !this.selected.size;
  }

  async wish({ file }) {
    if (!file) return;
    await this.attempt(refresh); // it may be newer than the list
    this.look(file);
  }

  /** Do something with the server, and tell what went wrong. */
  async attempt(action) {
    this.error.tell("");
    try {
      return await action();
    } catch (error) {
      this.error.tell(error);
      return null;
    }
  }

  async take(files) {
    for (const file of files) {
      const taken = await this.attempt(() => api("POST", `/api/upload?${new URLSearchParams({ name: file.name })}`, file));
      if (taken) say(`${taken.name} added`);
    }
    this.upload.value = "";
    await this.attempt(refresh);
  }

  dragged(event) {
    event.preventDefault();
    this.drop.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") this.take(event.dataTransfer.files);
  }

  async askMerge() {
    const names = store.state.files.map(({ name }) => name).filter((name) => this.selected.has(name));
    await this.make("Merge", `All episodes of ${names.map(stem).join(", ")}, in a new file.`, [nameField("merged")], "/api/merge",
      ({ out }) => ({ names, out }));
  }

  async askDelete() {
    const names = [...this.selected];
    const done = await ask("Delete", `Move ${names.map(stem).join(", ")} to the folder trash?`, [], "Delete",
      () => api("POST", "/api/delete", { names }), { danger: true });
    if (done) {
      this.selected.clear();
      await this.attempt(refresh);
    }
  }

  async make(title, text, fields, path, body) {
    const made = await ask(title, text, fields, title, (values) => api("POST", path, body(values)));
    if (!made) return;
    this.selected.clear();
    await this.attempt(refresh);
    const [first] = [made].flat();
    await this.look(first.name);
  }

  /** Show the episodes of a file. */
  async look(name) {
    const listed = await this.attempt(() => api("GET", `/api/episodes?${new URLSearchParams({ file: name })}`));
    if (!listed) return;
    this.shut();
    this.open = name;
    const file = store.state.files.find((each) => each.name === name);
    this.boxes = listed.map(({ episode }) => el("input", { type: "checkbox", value: episode, "aria-label": `Choose episode ${episode}` }));
    this.rows = listed.map((each, k) => this.episodeRow(name, each, this.boxes[k]));
    this.stage = el("div", { class: "looked" });
    const split = button("Split", () => this.askSplit(name), { id: "library-split" });
    const relabel = button("Relabel", () => this.askRelabel(file), { id: "library-relabel" });
    split.hidden = relabel.hidden = !file.editable;
    const train = button("Train on it", () => (location.hash = `train?${new URLSearchParams({ file: name })}`), { class: "primary" });
    this.detail.replaceChildren(
      el("div", { class: "session" }, el("h2", {}, stem(name)), split, relabel, train, button("Close", () => this.shut())),
      this.stage, el("ol", { class: "episodes", start: 0 }, this.rows));
    this.detail.hidden = false;
    await this.show(name, 0);
  }

  episodeRow(name, { episode, seconds, style, labelled, outcome }, box) {
    const words = [style ? `${style}${labelled ? "" : " (unlabelled)"}` : "unlabelled", duration(seconds), outcome].filter(Boolean);
    return el("li", {}, box, button(`${episode}: ${words.join(", ")}`, () => this.show(name, episode), { class: "link" }));
  }

  async show(name, episode) {
    const query = new URLSearchParams({ file: name, episode });
    const shown = await this.attempt(() => api("GET", `/api/episode?${query}`));
    if (!shown || this.open !== name) return;
    this.player?.close();
    this.player = null;
    this.rows.forEach((row, k) => row.classList.toggle("current", k === episode));
    const place = el("div", {});
    this.stage.replaceChildren(place);
    if (shown.frames) {
      this.player = new Player(place, [shown]);
      return;
    }
    const columns = shown.observations[0].map((_, k) => ({ points: shown.observations.map((row, t) => [t, row[k]]), colour: null }));
    const plots = [["Observations", columns], ["Rewards", [{ points: shown.rewards.map((reward, t) => [t, reward]), colour: null }]]];
    place.className = "plots";
    for (const [title, series] of plots) {
      const plot = new Plot(title, { xUnit: "steps" });
      place.append(plot.element);
      plot.set(series);
    }
  }

  shut() {
    this.player?.close();
    this.player = this.open = null;
    this.detail.hidden = true;
  }

  chosen() {
    return this.boxes.filter((box) => box.checked).map((box) => Number(box.value));
  }

  async askSplit(name) {
    const episodes = this.chosen();
    if (!episodes.length) return this.error.tell("Choose the episodes for the first of the two files.");
    await this.make("Split", `${plural(episodes.length, "chosen episode")} into one new file, the others into a second.`,
      [nameField(`${stem(name)}-part`)], "/api/split", ({ out }) => ({ name, episodes, out }));
  }

  async askRelabel({ name, task }) {
    const episodes = this.chosen();
    if (!episodes.length) return this.error.tell("Choose the episodes to relabel.");
    const styles = store.state.scenarios.find((scenario) => scenario.name === task)?.styles;
    const options = [["-1", "unlabelled"], ...(styles ?? [0, 1, 2, 3]).map((style, k) => [String(k), String(style)])];
    const select = el("select", { name: "style" }, options.map(([value, text]) => el("option", { value }, text)));
    await this.make("Relabel", `${plural(episodes.length, "chosen episode")}, in a new file; the old one is kept.`,
      [field("Style, for judging only", select), nameField(`${stem(name)}-relabelled`)], "/api/relabel",
      ({ out, style }) => ({ name, episodes, out, style: Number(style) }));
  }
}

const nameField = (value) => field("Name of the new file", el("input", { name: "out", value, required: true, pattern: "[\\w\\-]{1,64}" }));

function table(headings, body) {
  return el("div", { class: "table" }, el("table", {}, el("thead", {}, el("tr", {}, headings.map((text) => el("th", { scope: "col" }, text)))), body));
}

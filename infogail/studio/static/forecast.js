// The room to look ahead in: where somebody goes who starts here, or a held-out person from any moment on.

import { codeColour } from "./viewer.js";
import { colours } from "./plots.js";
import { connect, el, errorLine, field, fill, number, refresh, say, stem, store } from "./page.js";

const MOVES = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]]; // columns and rows of headings
const WAYS = ["right", "up right", "up", "up left", "left", "down left", "down", "down right"];
const KEYS = { ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowLeft: [-1, 0], ArrowDown: [0, -1] };
const HANDLE = 46, REACH = 22; // [px] from the start to the handle that turns it; how near to it counts
const GOAL = 26; // [px], the radius of a goal that is certain
const STRENGTH = 1.3; // of the colour of entries
const FIRST = 0.15; // share of a person's path that is shown first
const QUIET = 700; // [ms] without a change, before the forecast is read out

export function forecastRoom(root) {
  const room = new Forecasting();
  root.append(room.element);
  return { update: (state) => room.update(state), show: (wish) => room.show(wish), hide: () => room.close() };
}

class Forecasting {
  constructor() {
    this.name = el("select", { id: "forecast-name", onchange: () => this.open() });
    this.person = el("select", { id: "forecast-person", onchange: () => this.choose() });
    this.rewards = el("input", { id: "forecast-rewards", type: "checkbox", onchange: () => this.draw() });
    this.seen = el("input", { id: "forecast-seen", type: "range", min: 1, oninput: () => this.ask() });
    this.moves = el("input", { id: "forecast-moves", type: "range", min: 1, oninput: () => this.spread() });
    this.seenText = el("output", {});
    this.movesText = el("output", {}, "all");
    this.all = true; // moves are shown
    this.canvas = el("canvas", {
      id: "forecast-map", tabindex: 0, role: "application", "aria-describedby": "forecast-text",
      "aria-label": "Map: arrows move the start, with Shift they turn it",
    });
    this.text = el("p", { id: "forecast-text", class: "quiet" });
    this.chances = el("div", { id: "forecast-chances", class: "beliefs", role: "group", "aria-label": "chances of goals" });
    this.error = errorLine();
    this.none = el("p", { class: "quiet" }, "No forecasts yet: 'infogail forecast FILE' makes one.");
    this.place = el("div", {});
    this.opening = el("p", { class: "quiet", hidden: true }, "Opening…");
    this.seenField = field("Gone so far", el("span", { class: "sliding" }, this.seen, this.seenText), { hidden: true });
    this.board = el("div", { class: "mapped", hidden: true }, this.canvas, el("div", { class: "beside" },
      field("Who", this.person), this.seenField,
      field("Moves ahead", el("span", { class: "sliding" }, this.moves, this.movesText)),
      el("label", { class: "ticked" }, this.rewards, "Rewards: green cells are preferred, orange ones avoided"),
      el("h2", {}, "Where to"), this.chances, this.text));
    this.form = el("div", { class: "form" }, field("Forecast", this.name));
    this.element = el("div", { class: "board" }, this.form, this.none, this.error, this.opening, this.place, this.board);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  listen() {
    const at = ({ clientX, clientY }) => {
      const box = this.canvas.getBoundingClientRect();
      return [clientX - box.left, clientY - box.top];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!this.map) return;
      this.canvas.setPointerCapture(event.pointerId);
      const [x, y] = at(event), [handleX, handleY] = this.handle();
      this.turning = !this.chosen() && Math.hypot(x - handleX, y - handleY) < REACH;
      this.dragging = true;
      this.drag(x, y);
    });
    this.canvas.addEventListener("pointermove", (event) => this.dragging && this.drag(...at(event)));
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, () => (this.dragging = false));
    this.canvas.addEventListener("keydown", (event) => {
      const step = KEYS[event.key];
      if (!step || !this.map || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const { column, row, heading } = this.start;
      if (event.shiftKey) this.move(column, row, heading + (step[0] || step[1]) * -1);
      else this.move(column + step[0], row + step[1], heading);
    });
  }

  update(state) {
    const usable = state.forecasts.filter(({ problem }) => !problem);
    fill(this.name, usable.map(({ name }) => [name, stem(name)]), this.wanted);
    this.none.hidden = usable.length > 0;
    this.form.hidden = !usable.length;
    if (this.shown && !this.socket && usable.length) this.open();
  }

  async show({ forecast }) {
    this.shown = true;
    if (forecast) {
      this.wanted = forecast;
      await refresh().catch(() => {}); // it may be newer than the list
      this.update(store.state);
    }
    if (this.shown && this.name.value && this.opened !== this.name.value) this.open();
  }

  open() {
    this.close();
    this.shown = true;
    this.opened = this.name.value;
    this.forecast = null;
    this.all = true;
    this.wanted = null;
    this.error.tell("");
    this.opening.hidden = false;
    this.socket = connect("/ws/forecast", { type: "begin", forecast: this.opened }, (message) => this.hear(message),
      { place: this.place, onLost: () => { this.waiting = this.again = false; this.opening.hidden = true; } });
  }

  close() {
    this.shown = this.dragging = this.waiting = this.again = false;
    this.socket?.close();
    this.socket = this.opened = this.map = null;
    this.board.hidden = this.opening.hidden = true;
  }

  hear(message) {
    if (message.type === "begin") this.begin(message);
    else if (message.type === "forecast") this.told(message);
    else if (message.type === "error") this.error.tell(message.error);
  }

  begin(map) {
    const again = this.board.hidden === false; // the connection was lost
    this.map = map;
    if (!again) this.start = map.start;
    this.canvas.style.aspectRatio = 1 / Math.min(Math.max(map.rows / map.columns, 0.3), 2);
    this.canvas.style.maxWidth = `calc(78vh * ${this.canvas.style.aspectRatio})`;
    fill(this.person, [["", "Any: drag the start"],
      ...map.people.map(({ seconds }, k) => [String(k), `Held-out path ${k + 1}, ${number(seconds.at(-1), 1)} s`])]);
    this.rows = map.goals.map((_, k) => {
      const bar = el("i", {}), value = el("output", {}), name = el("b", {}, String(k + 1));
      return { bar, value, name, element: el("div", { class: "belief" }, name, el("span", { class: "bar" }, bar), value) };
    });
    this.chances.replaceChildren(...this.rows.map(({ element }) => element));
    this.board.hidden = false;
    this.opening.hidden = true;
    if (!again) this.person.value = "";
    this.choose();
  }

  /** The held-out person that is shown, or null. */
  chosen() {
    return this.person.value === "" ? null : this.map.people[Number(this.person.value)];
  }

  choose() {
    const person = this.chosen();
    this.seenField.hidden = !person;
    if (person) {
      this.seen.max = person.points.length;
      this.seen.value = Math.max(2, Math.round(FIRST * person.points.length));
    }
    this.ask();
  }

  spread() {
    this.all = Number(this.moves.value) === Number(this.moves.max);
    this.ask();
  }

  drag(x, y) {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const { columns, rows } = this.map;
    if (!this.turning) return this.move(Math.floor((x / width) * columns), Math.floor((1 - y / height) * rows), this.start.heading);
    const [fromX, fromY] = this.middle();
    const along = MOVES.map((_, k) => {
      const [dx, dy] = this.way(k);
      return dx * (x - fromX) + dy * (y - fromY);
    });
    return this.move(this.start.column, this.start.row, along.indexOf(Math.max(...along)));
  }

  /** Put the start here, as near as there are cells. */
  move(column, row, heading) {
    const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
    this.start = { column: within(column, this.map.columns), row: within(row, this.map.rows), heading: (heading + 8) % 8 };
    if (this.chosen()) {
      this.person.value = "";
      this.seenField.hidden = true;
    }
    this.draw();
    this.ask();
  }

  /** Ask for the forecast; while an answer is due, only the latest wish counts. */
  ask() {
    if (!this.map) return;
    const person = this.chosen();
    if (person) {
      const seconds = person.seconds[this.seen.value - 1];
      this.seenText.textContent = `${number(seconds, 1)} of ${number(person.seconds.at(-1), 1)} s`;
    }
    this.again = this.waiting;
    if (this.waiting) return;
    this.waiting = true;
    const moves = this.all ? null : Number(this.moves.value);
    const what = person ? { type: "person", person: Number(this.person.value), points: Number(this.seen.value) }
      : { type: "start", ...this.start };
    this.socket.send({ ...what, moves });
  }

  told(message) {
    this.waiting = false;
    this.forecast = window.studio.forecast = message;
    this.moves.max = Math.max(message.moves, 2);
    if (this.all) this.moves.value = this.moves.max;
    this.movesText.textContent = this.all ? "all" : this.moves.value;
    const goal = this.chosen()?.goal;
    this.rows.forEach(({ bar, value, name }, k) => {
      bar.style.transform = `scaleX(${message.chances[k]})`;
      value.textContent = `${Math.round(100 * message.chances[k])} %`;
      name.textContent = k === goal ? `${k + 1}, true` : String(k + 1);
    });
    this.describe();
    this.draw();
    if (this.again) this.ask();
  }

  describe() {
    const { chances, asked } = this.forecast, { extent: [left, right, bottom, top], columns, rows } = this.map;
    const likely = chances.map((chance, k) => [chance, k]).filter(([chance]) => chance > 0.1).sort(([a], [b]) => b - a);
    const to = likely.map(([chance, k]) => `goal ${k + 1} ${Math.round(100 * chance)} %`).join(", ") || "no goal can be reached";
    const x = left + ((asked.column + 0.5) / columns) * (right - left), y = bottom + ((asked.row + 0.5) / rows) * (top - bottom);
    const from = asked.type === "person" ? `After ${this.seenText.textContent}`
      : `From (${number(x, 1)}, ${number(y, 1)}), going ${WAYS[asked.heading]}`;
    this.text.textContent = `${from}: ${to}.`;
    clearTimeout(this.reading);
    this.reading = setTimeout(() => this.shown && say(this.text.textContent), QUIET);
  }

  // Drawing ----------------------------------------------------------------------------------------------------------

  /** Where a point is on the canvas [px]. */
  at([x, y]) {
    const [left, right, bottom, top] = this.map.extent;
    return [((x - left) / (right - left)) * this.canvas.clientWidth, ((top - y) / (top - bottom)) * this.canvas.clientHeight];
  }

  /** Where the start is on the canvas [px]. */
  middle() {
    const { columns, rows } = this.map, { column, row } = this.start;
    return [((column + 0.5) / columns) * this.canvas.clientWidth, (1 - (row + 0.5) / rows) * this.canvas.clientHeight];
  }

  /** The direction of a heading on the canvas, of length 1. */
  way(heading) {
    const [column, row] = MOVES[heading];
    const dx = (column * this.canvas.clientWidth) / this.map.columns, dy = (-row * this.canvas.clientHeight) / this.map.rows;
    return [dx / Math.hypot(dx, dy), dy / Math.hypot(dx, dy)];
  }

  handle() {
    const [x, y] = this.middle(), [dx, dy] = this.way(this.start.heading);
    return [x + HANDLE * dx, y + HANDLE * dy];
  }

  draw() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!this.map || !width || !height) return;
    const scale = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const context = this.canvas.getContext("2d"), { ink, accent, quiet } = colours();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    Object.assign(context, { lineJoin: "round", lineCap: "round", font: "12px system-ui, sans-serif" });
    const avoided = codeColour(4);
    if (this.rewards.checked) {
      this.paint(context, this.map.rewards.map((share) => [share < 0 ? avoided : codeColour(2), 1.2 * Math.abs(share ?? 0)]));
    }
    context.globalAlpha = 0.12;
    for (const path of this.map.paths) this.line(context, path, ink, 1);
    context.globalAlpha = 1;
    if (this.forecast) this.paint(context, this.forecast.entries.map((shade) => [accent, STRENGTH * shade]));
    for (const [x1, y1, x2, y2] of this.map.obstacles) this.line(context, [[x1, y1], [x2, y2]], quiet, 2);
    const person = this.chosen();
    if (person) {
      const seen = Number(this.seen.value);
      context.setLineDash([6, 6]);
      this.line(context, person.points.slice(seen - 1), avoided, 2);
      context.setLineDash([]);
      this.line(context, person.points.slice(0, seen), ink, 3);
    }
    this.drawGoals(context, ink);
    this.drawStart(context, ink, person ? this.at(person.points[this.seen.value - 1]) : this.middle(), !person);
  }

  drawGoals(context, ink) {
    this.map.goals.forEach((goal, k) => {
      const [x, y] = this.at(goal), radius = GOAL * Math.sqrt(this.forecast?.chances[k] ?? 0);
      Object.assign(context, { strokeStyle: codeColour(2), fillStyle: ink, lineWidth: 2 });
      disc(context, x, y, radius);
      context.stroke();
      Object.assign(context, { textAlign: x > this.canvas.clientWidth - 20 ? "right" : "left", textBaseline: "middle" });
      context.fillText(String(k + 1), x + (context.textAlign === "left" ? 5 : -5), y);
      disc(context, x, y, 2);
      context.fill();
    });
  }

  drawStart(context, ink, [x, y], handle) {
    Object.assign(context, { strokeStyle: ink, lineWidth: 2.5, fillStyle: ink });
    if (handle) {
      const [endX, endY] = this.handle();
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(endX, endY);
      context.stroke();
      disc(context, endX, endY, 7);
      context.save();
      context.fillStyle = colours().paper;
      context.fill();
      context.restore();
      context.stroke();
    }
    disc(context, x, y, 8);
    context.fill();
  }

  /** Colour each cell: [[colour, 0 to 255], …]. */
  paint(context, cells) {
    const { columns, rows } = this.map;
    this.tile ??= document.createElement("canvas");
    Object.assign(this.tile, { width: columns, height: rows });
    const tile = this.tile.getContext("2d"), image = tile.createImageData(columns, rows);
    const channels = (colour) => [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    const known = new Map();
    cells.forEach(([colour, alpha], cell) => {
      if (!known.has(colour)) known.set(colour, channels(colour));
      const row = rows - 1 - Math.floor(cell / columns);
      image.data.set([...known.get(colour), alpha], 4 * (row * columns + (cell % columns)));
    });
    tile.putImageData(image, 0, 0);
    context.drawImage(this.tile, 0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
  }

  line(context, points, colour, lineWidth) {
    Object.assign(context, { strokeStyle: colour, lineWidth });
    context.beginPath();
    for (const point of points) context.lineTo(...this.at(point));
    context.stroke();
  }
}

function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

// Small plots on canvas, and the bars of the posterior's belief.

import { codeColour } from "./viewer.js";
import { el, level } from "./page.js";

const LEFT = 38, RIGHT = 8, TOP = 8, BOTTOM = 18; // [px] around the axes
let theme = null;

/** The page's colours, read once per colour scheme. */
export function colours() {
  if (theme) return theme;
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return (theme = { ink: read("--ink"), quiet: read("--quiet"), line: read("--line"), accent: read("--accent"), paper: read("--paper") });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (theme = null));

/** About `count` round numbers from `low` to `high`. */
export function ticks(low, high, count = 3) {
  const raw = (high - low) / count || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw * 0.999);
  const marks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) marks.push(k * step);
  return marks;
}

const short = (value) => {
  const size = Math.abs(value);
  if (size >= 10000) return `${+(value / 1000).toFixed(1)}k`;
  return String(+value.toFixed(size >= 100 ? 0 : size >= 1 ? 1 : 2));
};

/**
 * A line plot with axes and the last value. `series`: [{points: [[x, y], …], colour}], y null where there is none.
 * Options: title, unit, low, high (bounds of y; left out: those of the data), xUnit, and span, the length of a window
 * of x that ends with the newest point.
 */
export class Plot {
  constructor(title, { unit = "", low = null, high = null, xUnit = "", span = null, lastValue = true } = {}) {
    Object.assign(this, { title, unit, low, high, xUnit, span, lastValue, series: [] });
    this.canvas = el("canvas", { role: "img", "aria-label": title });
    this.value = el("output", {});
    this.element = el("figure", { class: "plot" }, el("figcaption", {}, el("span", {}, title), this.value), this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  set(series) {
    this.series = series;
    const last = series.length === 1 ? series[0].points.at(-1)?.[1] : null;
    if (this.lastValue) this.value.textContent = last == null ? "" : `${short(last)} ${this.unit}`.trim();
    this.draw();
  }

  /** Add values at `x` to a moving window; going back in time starts afresh. */
  push(x, values, paint = null) {
    const newest = this.series[0]?.points.at(-1)?.[0];
    if (this.series.length !== values.length || x < newest) {
      this.series = values.map((_, k) => ({ points: [], colour: paint ?? (values.length > 1 ? codeColour(k) : null) }));
    } else if (x === newest) return;
    values.forEach((y, k) => {
      const { points } = this.series[k];
      points.push([x, y]);
      while (points.length > 2 && points[1][0] < x - this.span) points.shift();
    });
    this.set(this.series);
  }

  bounds() {
    const points = this.series.flatMap(({ points }) => points).filter(([, y]) => y != null && Number.isFinite(y));
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const least = (list, start) => list.reduce((a, b) => Math.min(a, b), start);
    const most = (list, start) => list.reduce((a, b) => Math.max(a, b), start);
    let left = least(xs, Infinity), right = most(xs, -Infinity);
    if (!points.length) [left, right] = [0, this.span ?? 1];
    if (this.span) [left, right] = [Math.max(0, right - this.span), Math.max(right, this.span)];
    let low = this.low ?? least(ys, Infinity), high = this.high ?? most(ys, -Infinity);
    if (!points.length) [low, high] = [this.low ?? 0, this.high ?? 1];
    if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
    const room = 0.06 * (high - low);
    if (this.low === null) low -= room;
    if (this.high === null) high += room;
    return { left, right: right > left ? right : left + 1, low, high };
  }

  draw() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const { left, right, low, high } = this.bounds();
    const x = (value) => LEFT + ((value - left) / (right - left)) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - ((value - low) / (high - low)) * (height - TOP - BOTTOM);
    this.drawAxes(context, width, height, { left, right, low, high }, x, y);
    context.save();
    context.beginPath();
    context.rect(LEFT, TOP - 2, width - LEFT - RIGHT + 1, height - TOP - BOTTOM + 4);
    context.clip();
    for (const { points, colour } of this.series) drawLine(context, points, colour ?? colours().accent, x, y);
    context.restore();
  }

  drawAxes(context, width, height, { left, right, low, high }, x, y) {
    const { quiet, line } = colours();
    Object.assign(context, { font: "11px system-ui, sans-serif", lineWidth: 1, strokeStyle: line, fillStyle: quiet });
    Object.assign(context, { textAlign: "right", textBaseline: "middle" });
    for (const value of ticks(low, high, height > 110 ? 4 : 2)) {
      const at = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(width - RIGHT, at);
      context.stroke();
      context.fillText(short(value), LEFT - 5, at);
    }
    context.textBaseline = "alphabetic";
    const marks = ticks(left, right, width > 260 ? 4 : 2);
    marks.forEach((value, k) => {
      context.textAlign = x(value) > width - 24 ? "right" : "center";
      const unit = k === marks.length - 1 && this.xUnit ? ` ${this.xUnit}` : "";
      context.fillText(short(value) + unit, Math.min(x(value), width - 2), height - 4);
    });
  }
}

function drawLine(context, points, colour, x, y) {
  Object.assign(context, { strokeStyle: colour, fillStyle: colour, lineWidth: 1.6, lineJoin: "round" });
  context.beginPath();
  let drawing = false;
  for (const [at, value] of points) {
    if (value == null || !Number.isFinite(value)) drawing = false;
    else if (drawing) context.lineTo(x(at), y(value));
    else {
      context.moveTo(x(at), y(value));
      drawing = true;
    }
  }
  context.stroke();
  const last = points.at(-1);
  if (!last || last[1] == null) return;
  context.beginPath();
  context.arc(x(last[0]), y(last[1]), 2.2, 0, 2 * Math.PI);
  context.fill();
}

/** A bar for each code with the posterior's belief in it. */
export class Beliefs {
  constructor(codes, graded = false, names = []) {
    const name = (code, k) => names[k] ?? (graded ? level(code) : String(code));
    this.rows = codes.map((code, k) => {
      const bar = el("span", { class: "bar" }, el("i", {}));
      bar.firstChild.style.background = codeColour(k);
      const value = el("output", {}, "–");
      return { bar: bar.firstChild, value, element: el("div", { class: "belief" }, el("b", {}, name(code, k)), bar, value) };
    });
    this.element = el("div", { class: "beliefs", role: "group", "aria-label": "the posterior's belief in each code" },
      this.rows.map(({ element }) => element));
  }

  show(belief) {
    this.rows.forEach(({ bar, value }, k) => {
      const chance = belief?.[k];
      bar.style.transform = `scaleX(${chance ?? 0})`;
      value.textContent = chance == null ? "–" : `${Math.round(100 * chance)} %`;
    });
  }
}

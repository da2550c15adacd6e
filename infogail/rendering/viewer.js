// Roads and cars on a canvas: in a page of its own that `infogail render --html` writes, in reports, and in the studio.
// Positions are highway-env's: x to the right, y down, in metres; headings turn clockwise. A car is
// [x, y, heading, speed, length, width] and, if it has one, its colour; a camera is [x, y, scale in px/m, heading that
// points to the right].

/** Okabe & Ito's colour-blind-safe palette, as in films and diagrams; code k has colour k. */
export const PALETTE = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442"];

export const codeColour = (code) => PALETTE[code % PALETTE.length];

const STRIPE = [3, 4.33]; // [m] painted and not, as in highway-env
const LEAST_SCALE = 0.55; // of a film's scale: on a narrow screen less road is shown, not smaller cars
const LEAST_HEIGHT = 96; // [px]
const FASTEST = 100; // [m/s]: what moves faster is not a car that drives on, but one that comes or goes
const KEPT = 2000; // points of a live trail
const SPEEDS = [["¼×", 0.25], ["½×", 0.5], ["1×", 1], ["2×", 2], ["4×", 4]];

const dark = matchMedia("(prefers-color-scheme: dark)");

/**
 * Where a car is at share `f` of the `dt` seconds from `a` to `b`: [x, y, heading], along a cubic with their speeds.
 * Nothing, like `a` or `b`, while it is not there.
 */
export function interpolate(a, b, f, dt) {
  if (!a || !b) return (f < 0.5 ? a : b)?.slice(0, 3);
  if (Math.hypot(b[0] - a[0], b[1] - a[1]) > FASTEST * dt) return (f < 0.5 ? a : b).slice(0, 3);
  const f2 = f * f, f3 = f2 * f;
  const start = 2 * f3 - 3 * f2 + 1, end = 3 * f2 - 2 * f3, leaving = (f3 - 2 * f2 + f) * dt, arriving = (f3 - f2) * dt;
  const along = (k, turn) => start * a[k] + end * b[k] + leaving * a[3] * turn(a[2]) + arriving * b[3] * turn(b[2]);
  return [along(0, Math.cos), along(1, Math.sin), a[2] + wrapped(b[2] - a[2]) * f];
}

/** An angle between −π and π. */
const wrapped = (angle) => Math.atan2(Math.sin(angle), Math.cos(angle));

const between = (a, b, f) => a.map((value, k) => (k === 3 ? value + wrapped(b[k] - value) * f : value + (b[k] - value) * f));

/** A canvas that shows one road. */
export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.road = { lanes: [] };
    this.size = [1120, 240];
  }

  /** Show this ROAD; `size` [px] is what the camera's scale is meant for. */
  setRoad(road, size) {
    Object.assign(this, { road, size });
  }

  /** Draw cars, the ego first, as a camera sees them. */
  draw(cars, camera, { colour = null, trail = [], ghost = null, alarm = false } = {}) {
    const { context } = this;
    this.fit();
    if (this.inksOf !== dark.matches) Object.assign(this, { inksOf: dark.matches, inks: this.palette() });
    const ink = this.inks;
    const [width, height] = this.seen;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = ink.ground;
    context.fillRect(0, 0, width, height);
    context.translate(width / 2, height / 2);
    context.rotate(-camera[3]);
    const scale = camera[2] * Math.max(width / this.size[0], LEAST_SCALE);
    context.scale(scale, scale);
    context.translate(-camera[0], -camera[1]);
    this.reach = Math.hypot(width, height) / scale / 2;
    this.paintRoad(camera, ink, scale);
    if (trail.length > 1) this.paintTrail(trail, colour ?? ink.ego, scale);
    if (ghost) this.paintCar(ghost, 5, 2, { fill: null, line: ink.ghost, scale });
    const near = (car) => Math.hypot(car[0] - camera[0], car[1] - camera[1]) < this.reach + car[4];
    const paint = (car, fill) => this.paintCar(car, car[4], car[5], { fill, line: ink.edge, scale });
    for (const car of cars.slice(1).filter(near)) paint(car, car[6] ?? ink.car);
    if (cars.length) paint(cars[0], colour ?? ink.ego);
    if (!alarm) return;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.strokeStyle = ink.alarm;
    context.lineWidth = 6;
    context.strokeRect(0, 0, width, height);
  }

  /** Give the canvas as many pixels as it covers. */
  fit() {
    const { canvas, size } = this, width = Math.max(canvas.clientWidth, 1);
    const height = Math.max(Math.round((width * size[1]) / size[0]), LEAST_HEIGHT);
    this.ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
    this.seen = [width, height];
    const pixels = [Math.round(width * this.ratio), Math.round(height * this.ratio)];
    if (canvas.width === pixels[0] && canvas.height === pixels[1]) return;
    [canvas.width, canvas.height] = pixels;
    canvas.style.aspectRatio = "auto";
    canvas.style.height = `${height}px`;
  }

  palette() {
    const style = getComputedStyle(this.canvas);
    const ink = (name, otherwise) => style.getPropertyValue(`--${name}`).trim() || otherwise;
    return {
      ground: ink("ground", "#d8ded4"), asphalt: ink("asphalt", "#888c92"), paint: ink("paint", "#ffffff"),
      car: ink("car", "#f2f2f2"), edge: ink("edge", "#22262b"), ego: ink("ego", "#0072B2"),
      ghost: ink("ghost", "#22262b"), alarm: ink("alarm", "#d93025"),
    };
  }

  paintRoad(camera, ink, scale) {
    const { context } = this;
    context.fillStyle = context.strokeStyle = ink.asphalt;
    context.lineWidth = 1 / scale; // closes the hairline between two lanes
    for (const { outline } of this.road.lanes) {
      this.trace(outline);
      context.closePath();
      context.fill();
      context.stroke();
    }
    context.strokeStyle = ink.paint;
    context.lineWidth = Math.max(0.2, 1 / scale);
    for (const { sides } of this.road.lanes) {
      for (const { points, type } of sides) if (type !== "none") this.paintLine(points, type, camera);
    }
    context.setLineDash([]);
  }

  paintLine(points, type, camera) {
    const { context } = this;
    let offset = 0;
    if (points.length === 2) [points, offset] = this.clipped(points, camera);
    if (!points) return;
    context.setLineDash(type === "striped" ? STRIPE : []);
    context.lineDashOffset = offset;
    this.trace(points);
    context.stroke();
  }

  /** The part of a straight line near the camera, and how far along it begins: some are kilometres long. */
  clipped([a, b], camera) {
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]), along = [(b[0] - a[0]) / length, (b[1] - a[1]) / length];
    const middle = (camera[0] - a[0]) * along[0] + (camera[1] - a[1]) * along[1];
    const from = Math.max(0, middle - this.reach), to = Math.min(length, middle + this.reach);
    const at = (distance) => [a[0] + along[0] * distance, a[1] + along[1] * distance];
    return from < to ? [[at(from), at(to)], from] : [null, 0];
  }

  trace(points) {
    this.context.beginPath();
    points.forEach(([x, y], k) => (k ? this.context.lineTo(x, y) : this.context.moveTo(x, y)));
  }

  paintTrail(trail, colour, scale) {
    const { context } = this;
    context.save();
    context.globalAlpha = 0.85;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(0.3, 2 / scale);
    context.lineJoin = "round";
    this.trace(trail);
    context.stroke();
    context.restore();
  }

  paintCar([x, y, heading], length, width, { fill, line, scale }) {
    const { context } = this;
    context.save();
    context.translate(x, y);
    context.rotate(heading);
    context.beginPath();
    context.roundRect(-length / 2, -width / 2, length, width, 0.22 * width);
    if (fill) {
      context.fillStyle = fill;
      context.fill();
    } else context.setLineDash([0.6, 0.5]);
    context.strokeStyle = line;
    context.lineWidth = Math.max(0.12, 1 / scale);
    context.stroke();
    if (fill) { // the windscreen shows which way it goes
      context.fillStyle = line;
      context.globalAlpha = 0.55;
      context.beginPath();
      context.roundRect(0.1 * length, -0.36 * width, 0.16 * length, 0.72 * width, 0.1 * width);
      context.fill();
    }
    context.restore();
  }
}

/** Draws FRAMEs as they arrive, at the screen's rate, one frame behind; `onpaint` is told the time [s] drawn. */
export class Live {
  constructor(canvas) {
    this.stage = new Stage(canvas);
    this.frames = [];
  }

  /** Start over on another road. */
  begin(road, size, colour = null) {
    this.stage.setRoad(road, size);
    Object.assign(this, { colour, frames: [], trail: [], interval: 1000 / 15 });
    if (!this.going) this.paint();
  }

  push(frame) {
    const now = performance.now(), last = this.frames.at(-1);
    if (last && frame.t < last.t) Object.assign(this, { frames: [], trail: [] });
    if (this.frames.length && frame.t > last.t) {
      const arrived = Math.min(Math.max(now - this.arrived, 5), 250);
      this.interval += 0.1 * (arrived - this.interval);
    }
    this.arrived = now;
    this.frames = [...this.frames.slice(-1), frame];
    this.trail = [...this.trail.slice(-KEPT), frame.cars[0].slice(1, 3)];
    if (!this.going) this.paint();
  }

  stop() {
    cancelAnimationFrame(this.going);
    this.going = null;
  }

  paint() {
    this.going = requestAnimationFrame(() => this.paint());
    if (!this.frames.length || !this.stage.canvas.clientWidth) return;
    const [before, now] = [this.frames[0], this.frames.at(-1)];
    const f = before === now ? 1 : Math.min(1, (performance.now() - this.arrived) / this.interval);
    const scene = [now, this.colour, dark.matches, this.stage.canvas.clientWidth];
    if (f === 1 && this.settled?.every((part, k) => part === scene[k])) return; // nothing moves
    this.settled = f === 1 ? scene : null;
    const old = new Map(before.cars.map((car) => [car[0], car.slice(1)]));
    const cars = now.cars.map(([id, ...car]) => {
      const from = old.get(id);
      return from ? [...interpolate(from, car, f, now.t - before.t), ...car.slice(3)] : car;
    });
    const camera = between(before.camera, now.camera, f);
    const trail = [...this.trail.slice(0, -1), cars[0].slice(0, 2)];
    const alarm = Boolean(now.outcome) && now.outcome !== "complete";
    this.stage.draw(cars, camera, { colour: this.colour, trail, ghost: now.ghost, alarm });
    this.onpaint?.(before.t + f * (now.t - before.t));
  }
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A probability of one code, as a bar with its number. */
class Bar {
  constructor(code) {
    this.filled = element("i");
    this.filled.style.background = codeColour(code);
    this.number = element("span", { className: "viewer-number" });
    const track = element("span", { className: "viewer-track" }, this.filled);
    this.element = element("span", { className: "viewer-bar" }, element("span", { textContent: code }), track, this.number);
  }

  show(chance) {
    this.filled.style.width = `${100 * chance}%`;
    this.number.textContent = `${Math.round(100 * chance)} %`;
  }
}

/** One EPISODE on a canvas below its caption. */
class Panel {
  constructor(episode) {
    this.episode = episode;
    this.colour = episode.code === null ? null : codeColour(episode.code);
    this.canvas = element("canvas", { className: "viewer-canvas", role: "img", ariaLabel: episode.label });
    this.stage = new Stage(this.canvas);
    this.stage.setRoad(episode.road, episode.size);
    this.words = element("span", { className: "viewer-words" });
    this.bars = (episode.belief?.[0] ?? []).map((_, code) => new Bar(code));
    const label = element("b", { textContent: episode.label });
    if (this.colour) label.style.borderColor = this.colour;
    const belief = element("span", { className: "viewer-belief", title: "The posterior's belief in each code" },
      ...this.bars.map((bar) => bar.element));
    const caption = element("figcaption", { className: "viewer-caption" }, label, this.words, belief);
    belief.hidden = !this.bars.length;
    this.element = element("figure", { className: "viewer-panel" }, caption, this.canvas);
  }

  /** Show the episode at a time [s]; after its end, its last frame. */
  show(time) {
    const { frames, sizes, codes, cameras, details, belief, outcome, style, seconds_per_frame: step } = this.episode;
    const last = frames.length - 1, at = Math.min(time / step, last), k = Math.min(Math.floor(at), Math.max(last - 1, 0));
    const f = last ? at - k : 0, next = Math.min(k + 1, last), ended = at > last - 1e-6;
    const paints = (code) => (code == null ? null : codeColour(code));
    const cars = frames[k].flatMap((car, n) => {
      const to = frames[next][n], place = interpolate(car, to, f, step);
      return place ? [[...place, (car ?? to)[3], ...sizes[n], paints(codes?.[n])]] : [];
    });
    const trail = [...frames.slice(0, k + 1).map((all) => all[0].slice(0, 2)), cars[0].slice(0, 2)];
    const inks = { colour: this.colour, trail, alarm: ended && Boolean(outcome) };
    this.stage.draw(cars, between(cameras[k], cameras[next], f), inks);
    const speed = `${Math.round(3.6 * (frames[k][0][3] + f * (frames[next][0][3] - frames[k][0][3])))} km/h`;
    this.words.textContent = [speed, details?.[k], ended && (outcome || style)].filter(Boolean).join(" · ");
    const now = belief?.[Math.min(Math.floor(at), belief.length - 1)];
    this.bars.forEach((bar, code) => bar.show(now[code]));
  }
}

/**
 * Plays recorded EPISODEs: `scenes` is a list of episodes, or a list of such lists, one shown at a time. It listens to
 * the keys pressed in the element `keys`: Space plays and pauses, the arrows step.
 */
export class Player {
  constructor(root, scenes, { loop = false, speed = 1, keys = root } = {}) {
    Object.assign(this, { root, loop, speed, time: 0, playing: false, closing: new AbortController() });
    this.scenes = Array.isArray(scenes[0]) ? scenes : [scenes];
    root.classList.add("viewer");
    this.build();
    this.choose(0);
    this.observer = new ResizeObserver(() => this.show());
    this.observer.observe(root);
    const { signal } = this.closing;
    keys.addEventListener("keydown", (event) => this.keydown(event), { signal });
    dark.addEventListener("change", () => this.show(), { signal });
  }

  build() {
    this.panels = element("div", { className: "viewer-panels" });
    this.playButton = this.button("Play", () => this.toggle());
    this.scrubber = element("input", { type: "range", min: 0, step: "any", ariaLabel: "Time" });
    this.scrubber.addEventListener("input", () => this.seek(Number(this.scrubber.value)));
    this.clock = element("output", { className: "viewer-clock" });
    const speeds = SPEEDS.map(([textContent, value]) =>
      element("option", { value, textContent, selected: value === this.speed }));
    this.speedSelect = element("select", { ariaLabel: "Speed" }, ...speeds);
    this.speedSelect.addEventListener("change", () => (this.speed = Number(this.speedSelect.value)));
    this.sceneSelect = element("select", { ariaLabel: "Scene" },
      ...this.scenes.map((_, k) => element("option", { value: k, textContent: `scene ${k + 1}` })));
    this.sceneSelect.addEventListener("change", () => this.choose(Number(this.sceneSelect.value)));
    this.sceneSelect.hidden = this.scenes.length < 2;
    const controls = element("div", { className: "viewer-controls" }, this.sceneSelect, this.playButton,
      this.button("‹", () => this.step(-1), "One step back"), this.button("›", () => this.step(1), "One step on"),
      this.scrubber, this.clock, this.speedSelect);
    this.root.replaceChildren(this.panels, controls);
  }

  button(text, onclick, ariaLabel = null) {
    return element("button", { type: "button", textContent: text, onclick, ariaLabel });
  }

  choose(scene) {
    this.shown = this.scenes[scene].map((episode) => new Panel(episode));
    this.panels.replaceChildren(...this.shown.map((panel) => panel.element));
    this.panels.dataset.narrow = String(this.shown[0].episode.size[0] < 700);
    this.length = Math.max(...this.scenes[scene].map((e) => (e.frames.length - 1) * e.seconds_per_frame));
    this.scrubber.max = this.length;
    this.grain = Math.min(...this.scenes[scene].map((episode) => episode.seconds_per_frame));
    this.seek(0);
  }

  /** Show the time [s]. */
  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.length);
    this.show();
  }

  step(count) {
    this.pause();
    this.seek(this.time + count * this.grain);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing) return;
    if (this.time >= this.length) this.time = 0;
    this.playing = true;
    this.playButton.textContent = "Pause";
    let last = performance.now();
    const paint = (now) => {
      if (!this.playing || !this.root.isConnected) return;
      this.seek(this.time + ((now - last) / 1000) * this.speed);
      last = now;
      if (this.time < this.length) requestAnimationFrame(paint);
      else if (this.loop) setTimeout(() => this.playing && (this.pause(), this.seek(0), this.play()), 600);
      else this.pause();
    };
    requestAnimationFrame(paint);
  }

  pause() {
    this.playing = false;
    this.playButton.textContent = "Play";
  }

  /** Stop for good. */
  close() {
    this.pause();
    this.observer.disconnect();
    this.closing.abort();
    this.root.replaceChildren();
  }

  show() {
    for (const panel of this.shown) if (panel.canvas.clientWidth) panel.show(this.time);
    this.scrubber.value = this.time;
    this.clock.textContent = `${this.time.toFixed(1)} / ${this.length.toFixed(1)} s`;
  }

  keydown(event) {
    const does = { " ": () => this.toggle(), ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1) }[event.key];
    const meant = event.target.closest(event.key === " " ? "button, select, summary, a, video" : "select, video");
    if (!does || meant || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    does();
  }
}

/** Give each `<div data-episodes="ID">` a Player of the JSON in the element ID; a single one listens to all keys. */
export function mountAll() {
  const places = [...document.querySelectorAll("[data-episodes]")];
  return places.map((place) => {
    place.tabIndex = places.length > 1 ? 0 : -1;
    const scenes = JSON.parse(document.getElementById(place.dataset.episodes).textContent);
    return new Player(place, scenes, { keys: places.length > 1 ? place : document });
  });
}

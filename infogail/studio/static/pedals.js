// Pedals and steering wheel from keys, buttons on the screen, and a gamepad.

/** Seconds that a held key takes to reach the whole pedal or lock, and to let go again. */
export const ACCELERATION_RISE = 0.4, STEERING_RISE = 0.35, RELEASE = 0.2;
/** What a held key asks for sideways at most [m/s²]: at 90 km/h, a scenario's whole lock would demand more than 1 g. */
export const SIDEWAYS = 5;
const WHEELBASE = 5; // [m]: highway-env turns a car about its middle as if its axles were at its ends
/** What a gamepad's stick ignores around its centre. */
export const DEAD_ZONE = 0.08;

const KEYS = {
  ArrowUp: "faster", KeyW: "faster", ArrowDown: "slower", KeyS: "slower",
  ArrowLeft: "left", KeyA: "left", ArrowRight: "right", KeyD: "right",
};
const BUTTONS = { 0: "keep", 1: "discard", 9: "pause" };

/** What a key drives, by its place on the keyboard: "faster", "slower", "left", "right"; undefined for other keys. */
export const driven = (event) => KEYS[event.code];

/** A stick's deflection without its dead zone: 0 within it, still 1 at the end. */
export function deflection(value, dead = DEAD_ZONE) {
  const size = Math.abs(value);
  return size <= dead ? 0 : Math.sign(value) * Math.min(1, (size - dead) / (1 - dead));
}

/** Move `value` towards `target` as a foot would: `rise` seconds for the whole way, RELEASE back to zero. */
export function ramp(value, target, rise, dt) {
  const back = target === 0 || value * target < 0;
  const goal = back ? 0 : target;
  const step = dt / (back ? RELEASE : rise);
  return Math.abs(goal - value) <= step ? goal : value + Math.sign(goal - value) * step;
}

export class Pedals {
  constructor() {
    this.held = new Map(); // what is pressed → what it does; a key and a finger may do the same
    this.pressed = new Set(); // the gamepad's buttons
    this.lock = null;
    this.limit = 1; // how much of the lock a held key reaches
    this.release();
  }

  /** Let everything go: what is still held has to be pressed again. */
  release() {
    this.held.clear();
    this.acceleration = this.steering = 0;
  }

  /** Steer less the faster the car is [m/s]. */
  adapt(speed) {
    this.limit = this.lock ? Math.min(1, (SIDEWAYS * WHEELBASE) / (speed ** 2 * this.lock)) : 1;
  }

  hold(source, action) {
    this.held.set(source, action);
  }

  let(source) {
    this.held.delete(source);
  }

  /** The pedals after another `dt` seconds: {acceleration, steering}, −1 to 1 each, positive to the right. */
  step(dt, pad = null) {
    const does = new Set(this.held.values());
    const wanted = (more, less) => does.has(more) - does.has(less);
    const { acceleration, steering } = this;
    this.acceleration = ramp(acceleration, wanted("faster", "slower"), ACCELERATION_RISE, dt);
    this.steering = ramp(steering, this.limit * wanted("right", "left"), STEERING_RISE, dt);
    const stronger = (a, b) => Number((Math.abs(b) > Math.abs(a) ? b : a).toFixed(3));
    return {
      acceleration: stronger(this.acceleration, pad?.acceleration ?? 0),
      steering: stronger(this.steering, pad?.steering ?? 0),
    };
  }

  /** The first gamepad: {acceleration, steering, actions newly pressed}; null if there is none. */
  gamepad() {
    const pad = navigator.getGamepads?.().find((each) => each?.connected);
    if (!pad) return null;
    const down = new Set(pad.buttons.flatMap((each, k) => (each.pressed ? [k] : [])));
    const actions = [...down].filter((k) => !this.pressed.has(k) && BUTTONS[k]).map((k) => BUTTONS[k]);
    this.pressed = down;
    const trigger = (k) => deflection(pad.buttons[k]?.value ?? 0);
    return { acceleration: trigger(7) - trigger(6), steering: deflection(pad.axes[0] ?? 0), actions };
  }

  /** Make `element` a pedal for fingers; several may be held at once. */
  touch(element, action) {
    element.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      this.hold(event.pointerId, action);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(end, (event) => this.let(event.pointerId));
    }
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}

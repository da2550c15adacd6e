// What all rooms share: building elements, speaking with the server, small pieces of form.

/** An element with attributes (functions are listeners, false and null are left out) and children (text or nodes). */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const button = (text, onclick, attributes = {}) => el("button", { type: "button", onclick, ...attributes }, text);

/** A labelled form field. */
export function field(text, control, attributes = {}) {
  return el("label", { class: "field", ...attributes }, el("span", {}, text), control);
}

/** Replace the options of `select`, [[value, text] or {group, options}, …], keeping the choice where it still exists. */
export function fill(select, options, preferred = null) {
  const chosen = select.value;
  const option = ([value, text]) => el("option", { value }, text);
  select.replaceChildren(...options.map((row) =>
    Array.isArray(row) ? option(row) : el("optgroup", { label: row.group }, row.options.map(option))));
  const values = [...select.options].map((each) => each.value);
  const wanted = [preferred, chosen].find((value) => value != null && values.includes(value));
  if (wanted != null) select.value = wanted;
}

/** A line that tells what went wrong, near what was tried. */
export function errorLine() {
  const line = el("p", { class: "error", role: "alert", hidden: true });
  return Object.assign(line, {
    tell(error) {
      line.textContent = error?.message ?? error ?? "";
      line.hidden = !line.textContent;
    },
  });
}

/** Tell a screen reader. */
export function say(text) {
  document.getElementById("status").textContent = text;
}

// Formats ------------------------------------------------------------------------------------------------------------

export const number = (value, digits = 0, none = "–") => (Number.isFinite(value) ? value.toFixed(digits) : none);
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
export const stem = (name) => name.replace(/^.*\//, "").replace(/\.[^.]*$/, "");

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function when(unix) {
  const date = new Date(unix * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString();
}

/** A graded code: "+0.50". */
export function level(code) {
  return `${code > 0 ? "+" : ""}${Number(code).toFixed(2)}`;
}

/** A code in words: "code 1", "code 1 · left" of one with a name, or "code +0.50" of graded ones. */
export function codeName(code, graded = false, name = null) {
  if (graded) return `code ${level(code)}`;
  return name ? `code ${code} · ${name}` : `code ${code}`;
}

/** How many codes a run has, and their names: "2 codes: left, right". */
export function codesOf({ codes, names }) {
  const known = names.filter(Boolean);
  return plural(codes.length, "code") + (known.length ? `: ${known.join(", ")}` : "");
}

// The server ---------------------------------------------------------------------------------------------------------

/** What the server last said of itself, and who wants to hear of changes. */
export const store = { state: null, listeners: new Set(), busy: false };

let heard = "";

/** Ask the server for its state; listeners hear of changes only, so that lists keep the reader's place. */
export async function refresh() {
  const state = await api("GET", "/api/state");
  const text = JSON.stringify(state);
  store.state = state;
  if (text === heard) return state;
  heard = text;
  for (const listener of store.listeners) listener(state);
  return state;
}

/** Ask the server; throws an Error with one line that can be shown. `body`: a Blob is sent as it is, else JSON. */
export async function api(method, path, body = null) {
  const raw = body instanceof Blob;
  let response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: body === null ? {} : { "Content-Type": raw ? "application/octet-stream" : "application/json" },
      body: raw || body === null ? body : JSON.stringify(body),
    });
  } catch {
    dispatchEvent(new Event("studio:lost"));
    throw new Error("The studio does not answer; is it still running?");
  }
  dispatchEvent(new Event("studio:found"));
  if (response.status === 401) {
    dispatchEvent(new Event("studio:anew"));
    throw new Error("The studio was started anew.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The studio answered ${response.status} ${response.statusText}`.trim());
  return answer;
}

/**
 * A WebSocket that sends `first` when it opens. JSON messages go to `onMessage`, binary ones to `onBinary`. When the
 * connection is lost, a line with the reason and a way to reconnect appears in `place`, and `onLost` is called.
 */
export function connect(path, first, onMessage, { place, onLost = () => {}, onBinary = () => {} }) {
  let socket, closing = false;
  const line = el("div", { class: "lost", role: "alert", hidden: true });
  place.append(line);

  function open() {
    line.hidden = true;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const opened = (socket = new WebSocket(`${scheme}//${location.host}${path}`));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => first && opened.send(JSON.stringify(first));
    socket.onmessage = ({ data }) => {
      if (opened !== socket || closing) return;
      if (typeof data === "string") onMessage(JSON.parse(data));
      else onBinary(data);
    };
    socket.onclose = ({ code, reason }) => opened === socket && !closing && lost(code, reason);
  }

  function lost(code, reason) {
    if (code === 1000) return onLost(true);
    const why = reason || (code === 1001 ? "the studio is shutting down" : code === 1011 ? "the session crashed" : "");
    line.replaceChildren(el("span", {}, why ? `Connection lost: ${why}` : "Connection lost."), button("Reconnect", open));
    line.hidden = false;
    onLost(false);
    refresh().catch(() => {}); // finds out whether the studio is gone or was started anew
  }

  open();
  return {
    send(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
    },
    close() {
      closing = true;
      line.remove();
      socket.close(1000);
    },
  };
}

/**
 * Ask in a dialog; `action` gets the form's values and may throw, which is shown in the dialog.
 * Fields: elements with a name. Resolves to what `action` returned, or to null if the dialog was cancelled.
 */
export function ask(title, explanation, fields, verb, action, { danger = false } = {}) {
  return new Promise((resolve) => {
    const error = errorLine();
    const confirm = el("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
    const form = el("form", { method: "dialog" },
      el("h2", {}, title), explanation && el("p", { class: "quiet" }, explanation), fields, error,
      el("div", { class: "row end" }, button("Cancel", () => dialog.close()), confirm));
    const dialog = el("dialog", { "aria-label": title }, form);
    let result = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      try {
        result = (await action(Object.fromEntries(new FormData(form)))) ?? true;
        dialog.close();
      } catch (problem) {
        error.tell(problem);
      }
      confirm.disabled = false;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

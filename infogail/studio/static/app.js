// The page of the studio: which room is shown, and whether the server is there.

import { el, refresh, say, store } from "./page.js";
import { driveRoom } from "./drive.js";
import { forecastRoom } from "./forecast.js";
import { libraryRoom } from "./library.js";
import { trainRoom } from "./train.js";
import { watchRoom } from "./watch.js";

const PREPARING = 300; // [ms] between questions while the simulators are imported
const POLL = 5000, POLL_LOST = 1000; // [ms]
const ROOMS = { drive: driveRoom, library: libraryRoom, train: trainRoom, watch: watchRoom, forecast: forecastRoom };

/** For tests: the newest messages. */
window.studio = { driving: null, trained: null, watched: null, forecast: null };

const rooms = {};
const banner = document.getElementById("banner");
let lost = false, current = null;

function announce(text) {
  banner.textContent = text;
  banner.hidden = !text;
}

/** The room and its parameters from the address, such as #train?file=demos/pass.safetensors. */
function route() {
  const [name, query] = location.hash.slice(1).split("?");
  return [name in ROOMS ? name : "drive", Object.fromEntries(new URLSearchParams(query ?? ""))];
}

function enter() {
  if (location.hash === "#main") return; // the link that skips the navigation
  const [name, parameters] = route();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const room of Object.keys(ROOMS)) document.getElementById(room).hidden = room !== name;
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · InfoGAIL studio`;
  if (current && current !== name) rooms[current].hide();
  if (current && current !== name) say(`${name} room`);
  current = name;
  rooms[name].show(parameters);
}

/** Build the rooms once the server knows its scenarios. */
function furnish() {
  for (const [name, room] of Object.entries(ROOMS)) rooms[name] = room(document.getElementById(name));
  store.listeners.add((state) => {
    document.getElementById("folder").textContent = state.folder;
    for (const room of Object.values(rooms)) room.update(state);
  });
  document.getElementById("folder").textContent = store.state.folder;
  for (const room of Object.values(rooms)) room.update(store.state);
  addEventListener("hashchange", enter);
  enter();
}

async function watchServer() {
  let pause = POLL;
  try {
    // While somebody drives, the server has better things to do, and its socket tells whether it is alive.
    if (lost || !(store.busy || document.hidden) || current === null) await refresh();
    if (store.state && !store.state.ready) {
      announce("Preparing the simulators…");
      pause = PREPARING;
    } else if (current === null) {
      announce("");
      furnish();
    }
  } catch {
    pause = POLL_LOST;
  }
  setTimeout(watchServer, pause);
}

addEventListener("studio:lost", () => {
  lost = true;
  announce("The studio does not answer. Trying again…");
});
addEventListener("studio:found", () => {
  if (lost) announce("");
  lost = false;
});
addEventListener("studio:anew", () => {
  document.body.replaceChildren(el("main", { class: "anew" },
    el("h1", {}, "The studio was started anew"), el("p", {}, "Open the address that it printed.")));
  throw new Error("started anew");
});

watchServer();

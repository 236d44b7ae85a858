// The page: joins the socket, the picture, the sound, the input and the panels. All state that matters lives in the
// server; what is here only shows it.

import { Input, SCROLLS, keyCap } from "./input.js";
import { Meters, pair } from "./meters.js";
import { Recorder, save } from "./record.js";
import { Shelf } from "./shelf.js";
import { Silence } from "./silence.js";
import { Sound } from "./sound.js";
import { BRANCH, FRAME, Link, MAX_MESSAGE, MOMENT, draw } from "./wire.js";

const $ = (id) => document.getElementById(id);
const picture = $("picture");
const meters = new Meters();
const sound = new Sound((text) => note("sound-note", text));
const recorder = new Recorder(picture, sound);
let world = null; // the last "world" message
let state = { running: false, moments: [], branches: [] }; // the last "state" message
let mine = false; // whether this page has the controls
let begun = false; // whether the start overlay was clicked
let hiddenPause = false; // paused because the page was hidden
const TOO_LONG = "That was too long for the app: an action log that it has written itself fits.";

const silence = new Silence({
  broken: () => showLink("slow", "The world is not answering"),
  over: () => showLink("ok", "connected"),
});

const link = new Link({
  open: () => {
    showLink("ok", "connected");
    silence.begin();
  },
  closed: ({ code, reason }) => {
    silence.end();
    if (code === 1009) toast(TOO_LONG, "bad");
    showLink("lost", code === 1013 && reason ? reason : "not connected, trying again");
    sound.pause(true);
    meters.serial = null;
    veil("Connection lost. Trying again …");
    if (code === 1006) tellRefusal();
  },
  message: (message) => {
    if (!["control", "error"].includes(message.type)) silence.heard(); // those two come without the world, too
    on[message.type]?.(message);
  },
  frame: (frame) => (frame.kind === FRAME ? showFrame(frame) : shelves[frame.kind].picture(frame)),
});

const on = {
  async world(message) {
    const changed = (...names) => world && names.some((name) => String(message[name]) !== String(world[name]));
    const sounds = changed("sample_rate", "samples");
    if (recorder.on && (sounds || changed("size"))) {
      endRecording();
      toast("The recording ended with its world and is saved.", "good");
    }
    const inputs = ({ actions, keys }) => JSON.stringify([actions, keys]);
    if (!world || inputs(message) !== inputs(world)) input.use(message.actions, message.keys, $("pads"));
    world = message;
    silence.expect({ loading: false });
    meters.reset();
    veil("");
    input.tell(true); // a key that is held stays held
    showWorld();
    if (sounds && begun) await sound.start(world.sample_rate, world.samples);
  },
  state(message) {
    state = message;
    silence.expect({ running: state.running });
    showState();
  },
  control(message) {
    mine = message.mine;
    note("watch-note", mine ? "" : null);
    for (const control of document.querySelectorAll("[data-control]")) control.inert = !mine;
    input.tell(true);
    showState();
  },
  loading({ world: name }) {
    silence.expect({ loading: true });
    veil(`Loading ${label(name)} …`);
  },
  error({ text }) {
    silence.refused(); // an error of the world itself is followed by what is true
    toast(text, "bad"); // where loading failed the present world is told again, and ends the veil
  },
  log: ({ log }) => save(new Blob([JSON.stringify(log)], { type: "application/json" }), `${fileName()}.json`),
  replayed({ same, frames }) {
    if (same) toast(`Replayed ${frames} frames: the last one is the recorded one, bit for bit.`, "good");
    else toast(`Replayed ${frames} frames: the last one differs from the recorded one (another machine or version).`, "bad");
  },
};

const input = new Input({
  onAction: (action) => mine && link.send("act", { action, stamp: performance.now() }),
  onKey: (code, repeat) => {
    if (!begun) return false;
    if (!repeat) SHORTCUTS[code]?.[1]();
    return code in SHORTCUTS || SCROLLS.has(code);
  },
});

const shelves = {
  [MOMENT]: new Shelf($("moments"), {
    what: "Moment",
    onTake: (ident) => command("restore", { ident }),
    onRemove: (ident) => command("forget", { ident }),
  }),
  [BRANCH]: new Shelf($("branches"), {
    what: "Branch",
    onTake: (ident) => command("switch", { ident }),
    onRemove: (ident) => command("close", { ident }),
  }),
};

const pause = () => run(!state.running);
const SHORTCUTS = {
  KeyP: ["pause", pause],
  Space: ["pause", pause], // where the world has no action for it
  Period: ["one frame", () => command("step")],
  KeyZ: ["back 5 s", () => command("rewind")],
  KeyR: ["restart", restart],
  KeyK: ["keep", () => command("save")],
  KeyF: ["fork", () => command("fork")],
  KeyM: ["mute", () => $("mute").click()],
};

// -- what the server says, shown ---------------------------------------------------------------------------------------

function showFrame(frame) {
  silence.heard();
  draw(picture, frame);
  meters.frame(frame, state.running);
  if (begun) sound.push(frame, world?.fps ?? 30);
  recorder.frame();
  input.show(frame.action);
  if (state.active) draw(shelves[BRANCH].canvas(state.active), frame);
  if (frame.replayed) showBadge(`Replay ${frame.index} / ${state.replay?.[1] ?? "?"}`);
  picture.dataset.index = frame.index;
}

function showWorld() {
  const { name, backend, device, precision, steps, offered } = world;
  document.title = `${label(name)} · mlxworld`;
  $("name").textContent = label(name);
  $("runs").textContent = `${backend} · ${device} · ${precision} · ${steps} ${steps === 1 ? "step" : "steps"}`;
  options($("world"), offered.worlds, world.world, label);
  options($("backend"), offered.backends, backend);
  options($("precision"), offered.precisions, precision);
  options($("steps"), offered.step_counts, steps);
  const clips = Array.from({ length: world.starts }, (_, i) => String(i));
  options($("clip"), ["", ...clips], $("clip").value, (value) => (value === "" ? "by seed" : `${Number(value) + 1}`));
  picture.style.aspectRatio = `${world.size[1]} / ${world.size[0]}`;
  picture.setAttribute("aria-label", `Picture of the world ${label(name)}`);
  const keys = Object.keys(world.keys);
  $("begin-keys").replaceChildren(...keys.slice(0, 6).map(keyCap));
  const lines = world.actions.slice(1).map((action) => [keys.filter((code) => world.keys[code] === action), action]);
  const codes = Object.keys(SHORTCUTS).filter((code) => !world.keys[code]);
  const own = new Set(codes.map((code) => SHORTCUTS[code][0]));
  for (const what of own) lines.push([codes.filter((code) => SHORTCUTS[code][0] === what), what]);
  $("key-list").replaceChildren(...lines.flatMap(keyLine));
  $("begin").disabled = false;
}

function showState() {
  const { running, replay, seed, start, moments, branches, active } = state;
  const paused = begun && !running;
  $("screen").classList.toggle("still", !running);
  document.body.classList.toggle("running", running);
  $("run-text").textContent = running ? "Pause" : "Play";
  $("begin").hidden = begun;
  $("begin-text").textContent = mine ? "Click to play, with sound" : "Click to watch, with sound";
  showBadge(replay ? `Replay ${replay[0]} / ${replay[1]}` : paused ? "Paused" : "");
  $("replay").textContent = replay ? "Stop the replay" : "Replay a log …";
  if (document.activeElement !== $("seed") && seed !== undefined) $("seed").value = seed;
  $("clip").value = start ?? "";
  $("save").disabled = moments.length >= state.max_moments;
  $("fork").disabled = branches.length >= state.max_branches;
  const fps = world?.fps ?? 30;
  shelves[MOMENT].show(moments, fps);
  shelves[BRANCH].show(branches, fps, active);
  sound.pause(!running);
}

function showBadge(text) {
  $("badge").textContent = text;
  $("badge").hidden = !text;
}

function showLink(kind, text) {
  $("link").dataset.kind = kind;
  $("link").textContent = text;
}

// A socket does not say why it was refused, as a token of an earlier start is; the page's own address does.
async function tellRefusal() {
  const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  if (answer?.status === 403) showLink("lost", await answer.text());
}

function veil(text) {
  $("veil").hidden = !text;
  $("veil-text").textContent = text;
}

// text: shown in the note (null: as it stands in the page); "" hides it
function note(id, text) {
  $(id).hidden = text === "";
  if (text) $(id).textContent = text;
}

function toast(text, kind) {
  const line = Object.assign(document.createElement("p"), { textContent: text, className: kind });
  $("toasts").replaceChildren(...[...$("toasts").children].slice(-2), line);
  setTimeout(() => line.remove(), 7000);
}

function options(select, values, chosen, text = String) {
  select.replaceChildren(...values.map((value) => new Option(text(value), value, false, String(value) === String(chosen))));
}

function keyLine([codes, what]) {
  if (!codes.length) return [];
  const term = document.createElement("dt");
  term.append(...codes.map(keyCap));
  return [term, Object.assign(document.createElement("dd"), { textContent: what })];
}

const label = (name) => name.split(/[\\/]/).filter(Boolean).at(-1) ?? name;
const fileName = () => `${label(world.world)}-seed${state.seed}-${new Date().toISOString().slice(0, 19).replace(/\D/g, "")}`;

// -- what the person does ----------------------------------------------------------------------------------------------

function command(type, fields) {
  if (!link.send(type, fields)) return toast("Not connected: wait a moment.", "bad");
  if (mine && type !== "take") silence.ask();
}

function run(on) {
  if (mine) command("run", { on });
}

function restart() {
  command("reset", { seed: state.seed, start: state.start });
}

function startHere() {
  const seed = Number($("seed").value);
  if (!/^[0-9]+$/.test($("seed").value) || seed >= 2 ** 32) {
    toast("A seed is a whole number from 0 to 4294967295.", "bad");
    return false;
  }
  command("reset", { seed, start: $("clip").value === "" ? null : Number($("clip").value) });
  return true;
}

function endRecording() {
  recorder.stop(fileName()); // the video is saved once its last bytes have come
  showRecording();
}

function showRecording() {
  $("record").setAttribute("aria-pressed", String(recorder.on));
  $("record").textContent = recorder.on ? "Save video" : "Record video";
  $("rec").hidden = !recorder.on;
}

$("begin").addEventListener("click", () => {
  begun = true;
  showState();
  sound.start(world.sample_rate, world.samples);
  run(true);
});
$("run").addEventListener("click", () => (begun ? run(!state.running) : $("begin").click()));
$("step").addEventListener("click", () => command("step"));
$("rewind").addEventListener("click", () => command("rewind"));
$("restart").addEventListener("click", restart);
$("take").addEventListener("click", () => command("take"));
$("save").addEventListener("click", () => command("save"));
$("fork").addEventListener("click", () => command("fork"));
$("log").addEventListener("click", () => command("log"));
$("mute").addEventListener("click", () => {
  sound.set({ muted: !sound.muted });
  $("mute").setAttribute("aria-pressed", String(sound.muted));
});
$("volume").addEventListener("input", () => sound.set({ volume: $("volume").value / 100 }));
$("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (startHere()) document.activeElement.blur(); // the keys go to the world again
});
$("seed").addEventListener("keydown", (event) => event.code === "Escape" && ($("seed").value = state.seed));
$("dice").addEventListener("click", () => {
  $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % 100000;
  startHere();
});

// Another world comes with its own best backend, steps and precision; another backend with its own best of the rest.
for (const id of ["world", "backend", "steps", "precision"]) {
  $(id).addEventListener("change", () => {
    const keep = id === "steps" || id === "precision";
    const steps = keep ? Number($("steps").value) : null;
    const precision = keep ? $("precision").value : null;
    const backend = id === "world" ? null : $("backend").value;
    command("load", { world: $("world").value, backend, steps, precision });
  });
}

$("replay").addEventListener("click", () => (state.replay ? command("stop") : $("replay-file").click()));
$("replay-file").addEventListener("change", async () => {
  const file = $("replay-file").files[0];
  $("replay-file").value = "";
  document.activeElement.blur();
  if (!file) return;
  if (file.size > MAX_MESSAGE) return toast(TOO_LONG, "bad");
  try {
    command("replay", { log: JSON.parse(await file.text()) });
  } catch {
    toast(`${file.name} is not an action log.`, "bad");
  }
});

$("record").addEventListener("click", () => {
  if (recorder.on) return endRecording();
  recorder.start(world.fps);
  showRecording();
});
if (!Recorder.type()) {
  $("record").remove();
  $("record-hint").textContent = "This browser cannot record video. The action log plays back to the very same frames.";
}

// A clicked control gives the keys back to the world; one reached by Tab keeps them.
addEventListener("click", (event) => event.detail > 0 && event.target.closest?.("button")?.blur());
addEventListener("change", (event) => event.target.matches("select, [type=range]:not(:focus-visible)") && event.target.blur());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenPause = begun && mine && state.running;
  if (hiddenPause) run(!document.hidden);
  if (!document.hidden) hiddenPause = false;
});

setInterval(() => {
  const fps = meters.fps();
  $("m-fps").textContent = fps ? `${fps.toFixed(1)} of ${world.fps}` : "–";
  $("m-model").textContent = pair(meters.model);
  $("m-model").title = `packing for the socket: ${pair(meters.encode)}`;
  $("m-key").textContent = pair(meters.key);
  $("m-sound").textContent = sound.node ? `${Math.round(sound.fill * 1000)} ms` : "–";
  $("m-gaps").textContent = sound.gaps;
  $("m-drops").textContent = meters.drops;
}, 250);

(function meter() {
  $("level").style.transform = `scaleX(${sound.level().toFixed(3)})`;
  requestAnimationFrame(meter);
})();

// What the browser tests look at.
globalThis.play = { link, meters, sound, input, recorder, state: () => state, world: () => world };

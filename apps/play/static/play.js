// The page: joins the socket, the pictures, the sound, the input and the panels. All state that matters lives in the
// server; what is here only shows it.

import { pixelsOf } from "./files.js";
import { Input, SCROLLS } from "./input.js";
import { Meters, pair } from "./meters.js";
import { Bodies } from "./overlay.js";
import { Painter } from "./paint.js";
import { Panel } from "./panel.js";
import { Settings } from "./settings.js";
import { Share } from "./share.js";
import { Shelf } from "./shelf.js";
import { Silence } from "./silence.js";
import { Sound } from "./sound.js";
import { Stage } from "./stage.js";
import { $, Worlds, badge, feel, label, note, showLink, toast, veil } from "./view.js";
import { BESIDE, BRANCH, FRAME, Link, MAX_MESSAGE, MOMENT, OFFER, draw, refusal } from "./wire.js";

const picture = $("picture");
const settings = new Settings({ volume: 80, muted: false, bodies: true, keys: true, settings: false, numbers: false, phone: false });
const meters = new Meters();
const sound = new Sound((text) => note("sound-note", text));
let world = null; // the last "world" message
let state = { running: false, moments: [], branches: [] }; // the last "state" message
let mine = false; // whether this page has the controls
let begun = false; // whether a person has begun: before, the dream plays itself
let greeted = false; // whether this connection has begun to show something
let hiddenPause = false; // paused because the page was hidden
let heard = "dream"; // which of two pictures is listened to
let given; // the dream in the page's address as an action log, null: there is none; undefined: it is not read yet
const TOO_LONG = "That was too long for the app: an action log that it has written itself fits.";

const silence = new Silence({
  broken: () => showLink("slow", "The world is not answering"),
  over: () => showLink("ok", "connected"),
});

const link = new Link({
  open: () => {
    showLink("ok", "connected");
    silence.begin();
    greeted = false;
  },
  closed: ({ code, reason }) => {
    silence.end();
    if (code === 1009) toast(TOO_LONG, "bad");
    showLink("lost", code === 1013 && reason ? reason : "not connected, trying again");
    sound.pause(true);
    meters.serial = null;
    veil("Connection lost. Trying again …");
    if (code === 1006) refusal().then((text) => text && showLink("lost", text));
  },
  message: (message) => {
    if (!["control", "error"].includes(message.type)) silence.heard(); // those two come without the world, too
    on[message.type]?.(message);
  },
  frame: (frame) => frames[frame.kind]?.(frame),
});

const on = {
  async world(message) {
    const changed = (...names) => world && names.some((name) => String(message[name]) !== String(world[name]));
    const sounds = changed("sample_rate", "samples");
    const inputs = ({ actions, keys, together }) => JSON.stringify([actions, keys, together]);
    if (!world || inputs(message) !== inputs(world)) input.use(message.actions, message.keys, $("pads"), message.together);
    if (changed("opened")) painter.close(), bodies.forget();
    world = message;
    silence.expect({ loading: false });
    meters.reset();
    veil("");
    input.tell(true); // a key that is held stays held
    stage.use(world.size, world.fps, world.aspect);
    panel.world(world);
    if (sounds && begun) await sound.start(world.sample_rate, world.samples);
  },
  state(message) {
    state = message;
    silence.expect({ running: state.running });
    stage.span(state.span, state.position);
    showState();
    bodies.use(state, mine);
    greet();
  },
  control(message) {
    mine = message.mine;
    $("phone").hidden = !message.wide;
    if (message.wide && !$("qr").src) $("qr").src = "qr.svg" + location.search;
    note("watch-note", mine ? "" : null);
    for (const control of document.querySelectorAll("[data-control]")) control.inert = !mine;
    input.tell(true);
    showState();
    greet();
  },
  loading({ world: name }) {
    silence.expect({ loading: true });
    veil(`Loading ${label(name)} …`);
  },
  error({ text }) {
    silence.refused(); // an error of the world itself is followed by what is true
    toast(text, "bad"); // where loading failed the present world is told again, and ends the veil
  },
  physics: (physics) => bodies.show(physics),
  note: ({ text, undo }) => toast(text, "", undo && mine ? { label: "Undo", onClick: () => command("undo") } : null),
  fresh: ({ world: name }) =>
    toast(`${label(name)} has been trained on.`, "good", { label: "Load it", onClick: () => load({ world: name }) }),
  log: ({ log }) => share.log(log),
  film: (film) => (mine || !film.recorded) && share.film(film),
  replayed({ same, frames: count }) {
    if (same) toast(`Replayed ${count} frames: the last one is the recorded one, bit for bit.`, "good");
    else toast(`Replayed ${count} frames: the last one differs from the recorded one (another machine or version).`, "bad");
  },
};

const input = new Input({
  onAction: (action) => mine && link.send("act", { action, stamp: performance.now() }),
  onKey: (code, repeat, isAction) => {
    if (!begun && world && mine) begin();
    if (!begun || isAction) return begun;
    const keys = painter.open ? painter.keys : SHORTCUTS;
    if (!repeat) keys[code]?.[1]();
    return code in keys || SCROLLS.has(code);
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
const worlds = new Worlds($("worlds"), (name) => load({ world: name }));
const stage = new Stage({
  stage: $("stage"), screens: $("screens"), slider: $("time"), ago: $("ago"),
  onSeek: (index) => command("seek", { index }),
}); // prettier-ignore
const painter = new Painter({
  picture, canvas: $("paint"), tools: $("tools"),
  onDone: (pixels) => command("picture", { picture: pixels }) && run(true),
}); // prettier-ignore
const frames = {
  [FRAME]: showFrame,
  [BESIDE]: showBeside,
  [MOMENT]: (frame) => shelves[MOMENT].picture(frame),
  [BRANCH]: (frame) => shelves[BRANCH].picture(frame),
  [OFFER]: (frame) => frame.ident < worlds.names.length && draw(worlds.canvas(frame.ident), frame),
};

const bodies = new Bodies($("dream-bodies"), $("beside-bodies"), settings, (on) => link.send("bodies", { on }));
const share = new Share(command, fileName);
const panel = new Panel({ input, shelves, worlds, shortcuts: () => SHORTCUTS });

const pause = () => run(!state.running);
const SHORTCUTS = {
  KeyP: ["pause", pause],
  Space: ["pause", pause], // where the world has no action for it
  Period: ["one frame", () => command("step")],
  KeyZ: ["back 5 s", () => command("rewind")],
  KeyR: ["restart", restart],
  KeyU: ["undo", () => state.undo && command("undo")],
  KeyK: ["keep", () => command("save")],
  KeyF: ["fork", () => command("fork")],
  KeyC: ["film", () => share.askFilm()],
  KeyB: ["paint", paint],
  KeyL: ["let it play", () => command("pilot", { on: !state.pilot })],
  KeyO: ["full screen", () => stage.toggleFull()],
  KeyM: ["mute", () => $("mute").click()],
};

// -- what the server says, shown ---------------------------------------------------------------------------------------

function showFrame(frame) {
  silence.heard();
  draw(picture, frame);
  meters.frame(frame, state.running);
  stage.frame(frame.index, frame.cut);
  if (begun && heard === "dream") sound.push(frame, world?.fps ?? 30);
  input.show(frame.action);
  if (state.active) draw(shelves[BRANCH].canvas(state.active), frame);
  if (frame.replayed) badge(`Replay ${frame.index} / ${state.replay?.[1] ?? "?"}`);
  picture.dataset.index = frame.index;
}

function showState() {
  panel.state(state, { begun, mine, fps: world?.fps ?? 30 });
  if (!state.beside) listen("dream");
  stage.fit();
  sound.pause(!state.running);
}

function showBeside(frame) {
  draw($("beside"), frame);
  if (begun && heard === "beside") sound.push(frame, world?.fps ?? 30);
  $("beside").dataset.index = frame.index;
}

function listen(to) {
  heard = to;
  for (const side of ["beside", "dream"]) $(`hear-${side}`).setAttribute("aria-pressed", String(to === side));
}

function fileName() {
  return `${label(world.world)}-seed${state.seed}-${new Date().toISOString().slice(0, 19).replace(/\D/g, "")}`;
}

// -- what the person does ----------------------------------------------------------------------------------------------

// Whether it was sent.
function command(type, fields) {
  if (!link.send(type, fields)) {
    toast("Not connected: wait a moment.", "bad");
    return false;
  }
  if (mine && type !== "take") silence.ask();
  return true;
}

function run(on) {
  return mine && command("run", { on });
}

// What a page begins with: a dream that somebody sent, or, once for each connection, one that plays itself.
function greet() {
  if (given === undefined || !state.span || document.hidden) return;
  greeted ||= state.replay !== null; // a link that was refused leaves the page to play itself
  if (given && !mine) return toast("Take the controls to see the dream of this link.");
  if (given) command("replay", { log: given });
  else if (!greeted && mine && !begun && !state.running) greeted = command("pilot", { on: true }) && run(true);
  given = null;
}

// The dream in the page's address, also where somebody pastes it into a page that is open.
async function readLink() {
  given = await share.readLink();
  greet();
}
addEventListener("hashchange", readLink);
readLink();

// A person takes over, from the very frame that is shown.
function begin() {
  begun = true;
  showState();
  sound.start(world.sample_rate, world.samples);
  if (!mine) return;
  if (!state.replay) command("pilot", { on: false });
  run(true);
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

function load({ world: name = world.world, backend = null, steps = null, precision = null }) {
  command("load", { world: name, backend, steps, precision });
}

function beside(what) {
  if (!begun) begin();
  const on = state.beside !== what;
  if (command("beside", { what: on ? what : null }) && on) run(true);
}

function paint() {
  if (painter.open) return painter.close();
  run(false);
  painter.start();
}

async function take(file) {
  if (!file) return;
  if (file.type.startsWith("image/")) {
    const pixels = await pixelsOf(file, world.size, world.aspect);
    if (!pixels) return toast(`${file.name} is no picture that this browser can read.`, "bad");
    return command("picture", { picture: pixels }) && run(true);
  }
  if (file.size > MAX_MESSAGE) return toast(TOO_LONG, "bad");
  try {
    command("replay", { log: JSON.parse(await file.text()) });
  } catch {
    toast(`${file.name} is not an action log.`, "bad");
  }
}

const CLICKS = {
  begin,
  run: () => (begun ? run(!state.running) : begin()),
  step: () => command("step"), rewind: () => command("rewind"), restart, undo: () => command("undo"),
  take: () => command("take"), save: () => command("save"), fork: () => command("fork"),
  log: () => share.askLog(false), share: () => share.askLog(true), film: () => share.askFilm(),
  real: () => beside("real"), future: () => beside("future"), sync: () => command("sync"), swap: () => command("swap"),
  pilot: () => command("pilot", { on: !state.pilot }) && run(true),
  "show-bodies": () => bodies.toggle(), record: () => command("record", { on: !state.recording }),
  brush: paint, full: () => stage.toggleFull(), "from-picture": () => $("picture-file").click(),
  replay: () => (state.replay ? command("stop") : $("replay-file").click()),
  "hear-beside": () => listen("beside"), "hear-dream": () => listen("dream"),
  mute: () => setSound({ muted: !sound.muted }),
  dice: () => {
    $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % 100000;
    startHere();
  },
}; // prettier-ignore
for (const [id, act] of Object.entries(CLICKS)) $(id).addEventListener("click", act);

function setSound(values) {
  sound.set(values);
  settings.set("muted", sound.muted);
  settings.set("volume", Math.round(sound.volume * 100));
  $("mute").setAttribute("aria-pressed", String(sound.muted));
}
$("volume").value = settings.get("volume");
setSound({ volume: settings.get("volume") / 100, muted: settings.get("muted") });
$("volume").addEventListener("input", () => setSound({ volume: $("volume").value / 100 }));
$("start-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (startHere()) document.activeElement.blur(); // the keys go to the world again
});
$("seed").addEventListener("keydown", (event) => event.code === "Escape" && ($("seed").value = state.seed));

// Another backend comes with its own best of the rest.
for (const id of ["backend", "steps", "precision"]) {
  $(id).addEventListener("change", () => {
    const steps = id === "steps" || (id === "precision" && !world.auto) ? Number($("steps").value) : null;
    load({ steps, precision: id === "backend" ? null : $("precision").value, backend: $("backend").value });
  });
}

for (const id of ["replay-file", "picture-file"]) {
  $(id).addEventListener("change", () => {
    const file = $(id).files[0];
    $(id).value = "";
    document.activeElement.blur();
    take(file);
  });
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (!mine || !world) return;
  if (!begun) begin();
  take(event.dataTransfer.files[0]);
});

for (const fold of document.querySelectorAll("details[data-fold]")) {
  fold.open = settings.get(fold.dataset.fold);
  fold.addEventListener("toggle", () => settings.set(fold.dataset.fold, fold.open));
}

// A clicked control gives the keys back to the world; one reached by Tab keeps them.
addEventListener("click", (event) => event.detail > 0 && event.target.closest?.("button, summary")?.blur());
addEventListener("change", (event) => event.target.matches("select, [type=range]:not(:focus-visible)") && event.target.blur());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenPause = mine && state.running;
  if (hiddenPause) run(!document.hidden);
  if (!document.hidden) hiddenPause = false;
  greet();
});
// A page that the Back button brings back as it was left has lost its socket and its sound.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

setInterval(() => {
  const fps = meters.fps(state.running);
  $("m-fps").textContent = fps ? `${fps.toFixed(1)} of ${world.fps}` : "–";
  $("m-model").textContent = pair(meters.model);
  $("m-model").title = `packing for the socket: ${pair(meters.encode)}`;
  $("m-key").textContent = pair(meters.key);
  $("m-sound").textContent = sound.node ? `${Math.round(sound.fill * 1000)} ms` : "–";
  $("m-gaps").textContent = sound.gaps;
  $("m-drops").textContent = meters.drops;
  const answer = meters.key.count >= 3 ? meters.key.percentiles(0.5)[0] : undefined;
  const [kind, words] = begun && state.running ? feel(answer, fps / world.fps) : ["", ""];
  $("feel").dataset.kind = kind;
  $("feel").textContent = words;
}, 250);

(function meter() {
  $("level").style.transform = `scaleX(${sound.level().toFixed(3)})`;
  requestAnimationFrame(meter);
})();

// What the browser tests look at.
globalThis.play = { link, meters, sound, input, painter, stage, state: () => state, world: () => world };

// What the server says about the world and its state, shown on the bars and in the panel.

import { keyCap } from "./input.js";
import { $, badge, keyLines, label, options } from "./view.js";
import { BRANCH, MOMENT } from "./wire.js";

const BESIDE = { real: ["The real game", "The dream"], future: ["The other future", "Yours"] };

export class Panel {
  // shortcuts() -> {code: [what it does, act]}
  constructor({ input, shelves, worlds, shortcuts }) {
    Object.assign(this, { input, shelves, worlds, shortcuts });
  }

  world({ world, backend, device, precision, steps, auto, starts, offered }) {
    document.title = `${label(world)} · mlxworld`;
    $("name").textContent = label(world);
    $("runs").textContent = `${backend} · ${device} · ${precision} · ${steps} ${steps === 1 ? "pass" : "passes"} a frame`;
    this.worlds.show(offered.worlds, world);
    options($("backend"), offered.backends, backend);
    options($("precision"), offered.precisions, precision);
    options($("steps"), offered.step_counts, steps, (count) => (count === steps && auto ? `${count}, by itself` : count));
    const clips = Array.from({ length: starts }, (_, i) => String(i));
    options($("clip"), ["", ...clips], $("clip").value, (value) => (value === "" ? "by seed" : `${Number(value) + 1}`));
    $("picture").setAttribute("aria-label", `Picture of the world ${label(world)}`);
    this.keys();
    $("begin").disabled = false;
  }

  keys() {
    const { input } = this;
    const parts = [...input.pads.keys()];
    $("begin-keys").replaceChildren(...parts.flatMap((part) => input.codes(part).slice(0, 1)).slice(0, 6).map(keyCap));
    const shortcuts = this.shortcuts();
    const codes = Object.keys(shortcuts).filter((code) => input.partOf(code) === null);
    const own = [...new Set(codes.map((code) => shortcuts[code][0]))];
    keyLines([
      ...parts.map((part) => [input.codes(part), part.replaceAll("_", " ")]),
      ...own.map((what) => [codes.filter((code) => shortcuts[code][0] === what), what]),
    ]);
  }

  state(state, { begun, mine, fps }) {
    const { running, replay, seed, start, moments, branches, active, beside, pilot, recording, undo } = state;
    document.body.classList.toggle("running", running);
    $("run-text").textContent = running ? "Pause" : "Play";
    $("begin").hidden = begun;
    const touch = matchMedia("(hover: none)").matches;
    const call = mine ? (touch ? "Tap to play" : "Press any key to play") : `${touch ? "Tap" : "Click"} to watch`;
    $("begin-text").textContent = `${call}, with sound`;
    $("begin-keys").hidden = touch || !mine;
    const doing = begun && !running ? "Paused" : pilot && begun ? "Plays by itself" : "";
    badge(replay ? `Replay ${replay[0]} / ${replay[1]}` : doing);
    $("replay").textContent = replay ? "Stop the replay" : "Replay a log …";
    if (document.activeElement !== $("seed") && seed !== undefined) $("seed").value = seed;
    $("clip").value = start ?? "";
    $("save").disabled = moments.length >= state.max_moments;
    $("fork").disabled = branches.length >= state.max_branches;
    $("undo").disabled = !undo;
    $("pilot").setAttribute("aria-pressed", String(Boolean(pilot && begun)));
    $("show-bodies").hidden = !state.embodied;
    $("show-bodies").setAttribute("aria-pressed", String(Boolean(state.bodies)));
    $("record").setAttribute("aria-pressed", String(Boolean(recording)));
    $("record").textContent = recording ? "Stop and save" : "Record";
    $("rec").hidden = !recording;
    this.shelves[MOMENT].show(moments, fps);
    this.shelves[BRANCH].show(branches.length > 1 ? branches : [], fps, active);
    this.beside(beside);
  }

  beside(beside) {
    document.body.classList.toggle("beside", Boolean(beside));
    for (const what of ["real", "future"]) $(what).setAttribute("aria-pressed", String(beside === what));
    $("beside-screen").hidden = $("dream-caption").hidden = $("beside-tools").hidden = !beside;
    [$("beside-name").textContent, $("dream-name").textContent] = BESIDE[beside] ?? ["", ""];
    $("sync").hidden = beside !== "real";
    $("swap").hidden = beside !== "future";
  }
}

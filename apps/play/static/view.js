// What the server says, shown: worlds, state, notes. Knows the page's elements, and nothing of the socket.

import { keyCap } from "./input.js";

export const $ = (id) => document.getElementById(id);

export function badge(text) {
  $("badge").textContent = text;
  $("badge").hidden = !text;
}

export function showLink(kind, text) {
  $("link").dataset.kind = kind;
  $("link").textContent = text;
}

export function veil(text) {
  $("veil").hidden = !text;
  $("veil-text").textContent = text;
}

// text: shown in the note (null: as it stands in the page); "" hides it
export function note(id, text) {
  $(id).hidden = text === "";
  if (text) $(id).textContent = text;
}

// act: {label, onClick}, a button in the toast
export function toast(text, kind = "", act = null) {
  if (!text) return;
  const line = Object.assign(document.createElement("p"), { textContent: text, className: kind });
  if (act) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: act.label });
    button.addEventListener("click", () => {
      line.remove();
      act.onClick();
    });
    line.append(" ", button);
  }
  const others = [...$("toasts").children].filter((other) => other.dataset.text !== text);
  line.dataset.text = text;
  $("toasts").replaceChildren(...others.slice(-2), line);
  setTimeout(() => line.remove(), 7000);
}

export function options(select, values, chosen, text = String) {
  select.replaceChildren(...values.map((value) => new Option(text(value), value, false, String(value) === String(chosen))));
}

export function keyLines(lines) {
  $("key-list").replaceChildren(
    ...lines.flatMap(([codes, what]) => {
      if (!codes.length) return [];
      const term = document.createElement("dt");
      term.append(...codes.map(keyCap));
      return [term, Object.assign(document.createElement("dd"), { textContent: what })];
    }),
  );
}

export const label = (name) => name.split(/[\\/]/).filter(Boolean).at(-1) ?? name;

// The worlds on offer as cards; pictures come one by one.
export class Worlds {
  constructor(list, onTake) {
    Object.assign(this, { list, onTake });
    this.names = [];
    this.canvases = new Map(); // name -> canvas
  }

  show(names, chosen) {
    this.names = names;
    for (const name of this.canvases.keys()) if (!names.includes(name)) this.canvases.delete(name);
    const focused = document.activeElement.dataset.world;
    this.list.replaceChildren(...names.map((name) => this.card(name, name === chosen)));
    if (focused) [...this.list.querySelectorAll("button")].find(({ dataset }) => dataset.world === focused)?.focus();
  }

  canvas(number) {
    const name = this.names[number];
    if (!this.canvases.has(name)) {
      this.canvases.set(name, Object.assign(document.createElement("canvas"), { width: 128, height: 128 }));
    }
    return this.canvases.get(name);
  }

  card(name, chosen) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "take";
    button.dataset.world = name;
    button.setAttribute("aria-label", `World ${label(name)}`);
    if (chosen) button.setAttribute("aria-current", "true");
    const text = Object.assign(document.createElement("span"), { textContent: label(name) });
    button.append(this.canvas(this.names.indexOf(name)), text);
    button.addEventListener("click", () => !chosen && this.onTake(name));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }
}

// How quickly the world answers, in words: from a key to its picture, and how fast it runs.
export function feel(milliseconds, speed) {
  if (speed && speed < 0.9) return ["slow", `plays at ${Math.round(speed * 100)} % of its speed`];
  if (milliseconds === undefined) return ["", ""];
  const ms = `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60) return ["good", `answers at once, ${ms}`];
  if (milliseconds < 110) return ["good", `answers quickly, ${ms}`];
  if (milliseconds < 200) return ["slow", `answers a little late, ${ms}`];
  return ["slow", `answers late, ${ms}`];
}

// Keys, on-screen pads and gamepad, joined into one held action.
//
// An action's name lists its parts, joined by "+": forward+left. Each part has a key. The action is the one with the most
// parts among those whose parts are all held; of two such, the one with the newest key. Action 0 is doing nothing.

const KEYS = {
  up: ["ArrowUp"], down: ["ArrowDown"], left: ["ArrowLeft"], right: ["ArrowRight"],
  forward: ["KeyW", "ArrowUp"], back: ["KeyS", "ArrowDown"], strafe_left: ["KeyA"], strafe_right: ["KeyD"],
  jump: ["Space", "ArrowUp"], fire: ["Space"], attack: ["Space"], use: ["KeyE"], gas: ["ArrowUp"], brake: ["ArrowDown"],
}; // prettier-ignore
const SPARE = [...[..."1234567890"].map((digit) => `Digit${digit}`), ...[..."QTYIGHJXVN"].map((letter) => `Key${letter}`)];
const PAD_BUTTONS = { 12: "ArrowUp", 13: "ArrowDown", 14: "ArrowLeft", 15: "ArrowRight", 0: "Space", 1: "Enter", 2: "KeyE" };
const STICKS = [["ArrowLeft", "ArrowRight"], ["ArrowUp", "ArrowDown"], ["KeyA", "KeyD"], ["KeyW", "KeyS"]]; // prettier-ignore
const PRESSES = new Set(["Space", "Enter", "NumpadEnter"]);
const MOVES = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"]);
export const SCROLLS = new Set(["Space", ...MOVES]);
const TEXTS = new Set(["text", "search", "url", "tel", "email", "password", "number", "textarea"]);
const CAPS = { Period: ".", Comma: ",", Slash: "/", Backspace: "⌫", Enter: "⏎" };
const SHAPES = { up: "↑", down: "↓", left: "←", right: "→" };

export class Input {
  // onAction(index); onKey(code, repeat) -> true where the page uses the key itself, or no one else may
  constructor({ onAction, onKey }) {
    Object.assign(this, { onAction, onKey });
    this.held = new Map(); // source -> part, the newest last
    this.sent = 0;
    this.keys = {}; // code -> part
    this.actions = []; // the parts of each
    this.pads = new Map(); // part -> button
    this.pointed = null; // the control that has the focus because it was clicked
    addEventListener("pointerdown", (event) => (this.pointed = control(event.target)), true);
    addEventListener("focusin", (event) => event.target !== this.pointed && (this.pointed = null));
    addEventListener("focusout", () => (this.pointed = null));
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, () => document.activeElement !== this.pointed && (this.pointed = null), true);
    }
    addEventListener("keydown", (event) => this.keydown(event));
    addEventListener("keyup", (event) => {
      if (event.key === "Meta") this.releaseAll(); // macOS tells of no other key that is let go of while this one is down
      else this.release("key:" + event.code);
    });
    addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => this.releaseAll());
    const poll = () => {
      this.pollPads();
      requestAnimationFrame(poll);
    };
    poll();
  }

  // A key goes to the control that has the focus, where that can use it, else to the world, else to the page.
  keydown(event) {
    const { target } = event;
    const code = this.partOf(event.code) === null && isMove(event) ? event.key : event.code;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const focused = control(target);
    if (focused && code === "Escape") return focused.blur();
    const part = this.partOf(code);
    if (focused && uses(focused, code, event.shiftKey, part !== null, focused !== this.pointed)) return;
    if (focused?.matches("button, a, summary") && PRESSES.has(code)) focused.blur(); // clicked once: not pressed by keys
    const taken = this.onKey(code, event.repeat, part !== null);
    if (part !== null) {
      event.preventDefault();
      if (!event.repeat) this.press("key:" + event.code, part);
    } else if (taken) event.preventDefault();
  }

  // A world's actions and keys; builds the pads.
  // together: all names that are held go at once, and the number of a set has bit i - 1 for name i.
  use(actions, keys, box, together = false) {
    this.releaseAll();
    this.together = together;
    this.actions = actions.map(together ? (name) => [name] : partsOf);
    const parts = [...new Set(this.actions.slice(1).flat())];
    this.keys = { ...keysOf(parts), ...keys };
    box.replaceChildren();
    this.pads = new Map(parts.map((part) => [part, this.pad(part, box)]));
  }

  partOf(code) {
    return this.pads.has(this.keys[code]) ? this.keys[code] : this.ofAction(this.keys[code]);
  }

  // What the world calls a key may be an action of several parts: then they are one.
  ofAction(name) {
    const parts = name ? partsOf(name) : [];
    return parts.length > 1 && parts.every((part) => this.pads.has(part)) ? name : null;
  }

  pad(part, box) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = part;
    button.setAttribute("aria-pressed", "false");
    const label = document.createElement("span");
    label.textContent = SHAPES[part] ? `${SHAPES[part]} ${part}` : part.replaceAll("_", " ");
    button.append(label, ...this.codes(part).slice(0, 2).map(keyCap));
    const source = "button:" + part;
    const off = () => this.release(source);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.onKey("", false, true);
      this.press(source, part);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(end, off);
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("keydown", (event) => {
      if (!PRESSES.has(event.code)) return;
      event.preventDefault();
      event.stopPropagation();
      this.press(source, part);
    });
    button.addEventListener("keyup", off);
    box.append(button);
    return button;
  }

  // The keys of a part, in the order in which they are shown.
  codes(part) {
    return Object.keys(this.keys).filter((code) => this.keys[code] === part);
  }

  press(source, part) {
    this.held.delete(source);
    this.held.set(source, part);
    this.tell();
  }

  release(source) {
    if (this.held.delete(source)) this.tell();
  }

  releaseAll() {
    this.held.clear();
    this.tell();
  }

  // The number of the action that is held.
  action() {
    if (this.together) {
      const bit = (name) => 1 << (this.actions.findIndex(([own]) => own === name) - 1);
      return [...this.held.values()].reduce((set, name) => set | (bit(name) & 0xffff), 0);
    }
    const held = [...this.held.values()].flatMap(partsOf);
    let [best, ages] = [0, []];
    this.actions.forEach((parts, i) => {
      if (i === 0 || !parts.every((part) => held.includes(part)) || parts.length < ages.length) return;
      const own = parts.map((part) => held.lastIndexOf(part)).sort((a, b) => b - a); // the newest first
      const differ = own.findIndex((age, k) => age !== ages[k]);
      if (own.length > ages.length || own[differ] > ages[differ]) [best, ages] = [i, own];
    });
    return best;
  }

  tell(again = false) {
    const action = this.action();
    if (action === this.sent && !(again && action)) return;
    this.sent = action;
    this.onAction(action);
  }

  // Light the pads of the action that the world has just used.
  show(action) {
    const set = (_, i) => i > 0 && (action >> (i - 1)) & 1;
    const parts = this.together ? this.actions.filter(set).flat() : action ? (this.actions[action] ?? []) : [];
    for (const [part, button] of this.pads) button.setAttribute("aria-pressed", String(parts.includes(part)));
  }

  pollPads() {
    const down = new Set();
    for (const pad of navigator.getGamepads?.() ?? []) {
      if (!pad) continue;
      for (const [i, code] of Object.entries(PAD_BUTTONS)) if (pad.buttons[i]?.pressed) down.add(code);
      STICKS.forEach(([less, more], axis) => {
        const tilt = pad.axes[axis] ?? 0;
        if (Math.abs(tilt) > 0.5) down.add(tilt > 0 ? more : less);
      });
    }
    for (const code of new Set([...Object.values(PAD_BUTTONS), ...STICKS.flat()])) {
      const source = "pad:" + code;
      const part = this.partOf(code);
      if (!down.has(code)) this.release(source);
      else if (part !== null && !this.held.has(source)) {
        this.onKey("", false, true);
        this.press(source, part);
      }
    }
  }
}

// The parts of an action's name: a plus at its end is part of the name.
function partsOf(name) {
  return name.split(/(?<=[^+])\+(?=[^+])/);
}

// Keys for the parts of a world's actions: their usual ones, and those to spare for the rest. A key that two parts
// want belongs to the one for which it comes first.
function keysOf(parts) {
  const keys = {};
  for (let choice = 0; choice < 2; choice++) {
    for (const part of parts) if (KEYS[part]?.[choice]) keys[KEYS[part][choice]] ??= part;
  }
  const without = parts.filter((part) => !Object.values(keys).includes(part));
  const free = SPARE.filter((code) => !keys[code]);
  without.slice(0, free.length).forEach((part, i) => (keys[free[i]] = part));
  return keys;
}

export function keyCap(code) {
  const cap = document.createElement("kbd");
  cap.textContent = CAPS[code] ?? code.replace(/^(Key|Digit)/, "").replace(/^Arrow(.*)/, (_, side) => SHAPES[side.toLowerCase()]);
  return cap;
}

// The control that an event is about, or null.
function control(target) {
  if (!(target instanceof Element)) return null;
  return target.closest("label")?.control ?? target.closest("input, select, textarea, button, a, summary");
}

// Whether the number pad is switched to arrows and gives one, or one of the keys beside them.
const isMove = ({ code, key }) => code.startsWith("Numpad") && MOVES.has(key);

// Whether a control makes something of this key. isAction: the world has an action for it; byKeyboard: the control got
// the focus from Tab, not from a click, after which the keys go back to the world.
function uses(focused, code, shiftKey, isAction, byKeyboard) {
  const type = focused.matches("input, textarea") ? focused.type : focused.localName;
  if (TEXTS.has(type)) return !code.startsWith("Page") && !(isAction && !shiftKey && code.startsWith("Arrow"));
  if (!byKeyboard) return false;
  if (type === "select") return true;
  return (type === "range" ? MOVES : PRESSES).has(code);
}

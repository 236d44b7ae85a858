// Keys, on-screen buttons and gamepad, joined into one held action: the one pressed last.

const PAD_BUTTONS = { 12: "ArrowUp", 13: "ArrowDown", 14: "ArrowLeft", 15: "ArrowRight", 0: "Space", 1: "Enter" };
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
    this.held = new Map(); // source -> action index, the newest last
    this.sent = 0;
    this.keys = {};
    this.actions = [];
    this.buttons = [];
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
    const code = this.actionOf(event.code) === null && isMove(event) ? event.key : event.code;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const focused = control(target);
    if (focused && code === "Escape") return focused.blur();
    const action = this.actionOf(code);
    if (focused && uses(focused, code, event.shiftKey, action !== null, focused !== this.pointed)) return;
    if (focused?.matches("button, a") && PRESSES.has(code)) focused.blur(); // clicked once: it is not pressed by keys
    if (action !== null) {
      event.preventDefault();
      if (!event.repeat) this.press("key:" + event.code, action);
    } else if (this.onKey(code, event.repeat)) event.preventDefault();
  }

  // A world's actions and keys; builds the on-screen buttons (action 0 is doing nothing and has none).
  use(actions, keys, box) {
    this.releaseAll();
    this.keys = keys;
    this.actions = actions;
    box.replaceChildren();
    this.buttons = actions.map((name, action) => (action === 0 ? null : this.button(name, action, box)));
  }

  actionOf(code) {
    const action = this.actions.indexOf(this.keys[code]);
    return action < 0 ? null : action;
  }

  button(name, action, box) {
    const button = document.createElement("button");
    const codes = Object.keys(this.keys).filter((code) => this.keys[code] === name);
    button.type = "button";
    button.dataset.action = name;
    button.setAttribute("aria-pressed", "false");
    const label = document.createElement("span");
    label.textContent = SHAPES[name] ? `${SHAPES[name]} ${name}` : name;
    button.append(label, ...codes.slice(0, 2).map(keyCap));
    const source = "button:" + name;
    const off = () => this.release(source);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.press(source, action);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(end, off);
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("keydown", (event) => {
      if (!PRESSES.has(event.code)) return;
      event.preventDefault();
      event.stopPropagation();
      this.press(source, action);
    });
    button.addEventListener("keyup", off);
    box.append(button);
    return button;
  }

  press(source, action) {
    this.held.delete(source);
    this.held.set(source, action);
    this.tell();
  }

  release(source) {
    if (this.held.delete(source)) this.tell();
  }

  releaseAll() {
    this.held.clear();
    this.tell();
  }

  tell(again = false) {
    const action = [...this.held.values()].at(-1) ?? 0;
    if (action === this.sent && !(again && action)) return;
    this.sent = action;
    this.onAction(action);
  }

  // Light the button of the action that the world has just used.
  show(action) {
    this.buttons.forEach((button, i) => button?.setAttribute("aria-pressed", String(i === action)));
  }

  pollPads() {
    const down = new Set();
    for (const pad of navigator.getGamepads?.() ?? []) {
      if (!pad) continue;
      for (const [i, code] of Object.entries(PAD_BUTTONS)) if (pad.buttons[i]?.pressed) down.add(code);
      const [x = 0, y = 0] = pad.axes;
      if (Math.abs(x) > 0.5) down.add(x > 0 ? "ArrowRight" : "ArrowLeft");
      if (Math.abs(y) > 0.5) down.add(y > 0 ? "ArrowDown" : "ArrowUp");
    }
    for (const code of new Set(Object.values(PAD_BUTTONS))) {
      const source = "pad:" + code;
      const action = this.actionOf(code);
      if (!down.has(code)) this.release(source);
      else if (action !== null && !this.held.has(source)) this.press(source, action);
    }
  }
}

export function keyCap(code) {
  const cap = document.createElement("kbd");
  cap.textContent = CAPS[code] ?? code.replace(/^(Key|Digit)/, "").replace(/^Arrow(.*)/, (_, side) => SHAPES[side.toLowerCase()]);
  return cap;
}

// The control that an event is about, or null.
function control(target) {
  if (!(target instanceof Element)) return null;
  return target.closest("label")?.control ?? target.closest("input, select, textarea, button, a");
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

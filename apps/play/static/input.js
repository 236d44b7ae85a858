// Keys, on-screen buttons and gamepad, joined into one held action: the one pressed last.

const PAD_BUTTONS = { 12: "ArrowUp", 13: "ArrowDown", 14: "ArrowLeft", 15: "ArrowRight", 0: "Space", 1: "Enter" };
const CAPS = { Period: ".", Comma: ",", Slash: "/", Backspace: "⌫", Enter: "⏎" };
const SHAPES = { up: "↑", down: "↓", left: "←", right: "→" };

export class Input {
  // onAction(index); onKey(code) -> true where the page used the key itself
  constructor({ onAction, onKey }) {
    this.onAction = onAction;
    this.held = new Map(); // source -> action index, the newest last
    this.sent = 0;
    this.keys = {};
    this.actions = [];
    this.buttons = [];
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target)) return;
      const action = this.actionOf(event.code);
      const onButton = event.target.closest?.("button, a, summary") && ["Space", "Enter"].includes(event.code);
      if (onButton) return;
      if (action !== null) {
        event.preventDefault();
        if (!event.repeat) this.press("key:" + event.code, action);
      } else if (!event.repeat && onKey(event.code)) event.preventDefault();
    });
    addEventListener("keyup", (event) => this.release("key:" + event.code));
    addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => this.releaseAll());
    const poll = () => {
      this.pollPads();
      requestAnimationFrame(poll);
    };
    poll();
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
      if (!["Space", "Enter"].includes(event.code)) return;
      event.preventDefault();
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

function isField(target) {
  return target instanceof Element && target.matches("input, select, textarea");
}

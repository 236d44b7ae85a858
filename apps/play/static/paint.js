// Painting into the dream: a canvas over the picture, a brush, colours of the picture itself.

import { encode } from "./files.js";

const BRUSHES = [1, 2, 4, 8];

export class Painter {
  // onDone(base64 of the painted picture)
  constructor({ picture, canvas, tools, onDone }) {
    Object.assign(this, { picture, canvas, tools, onDone });
    this.size = 2;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => event.buttons && this.stroke(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const [name, act] of Object.entries({ done: () => this.done(), cancel: () => this.close(), back: () => this.undo() })) {
      tools.querySelector(`[data-tool=${name}]`).addEventListener("click", act);
    }
    this.keys = {
      Enter: ["dream on", () => this.done()],
      Escape: ["cancel", () => this.close()],
      KeyB: ["cancel", () => this.close()],
      KeyU: ["undo", () => this.undo()],
      KeyZ: ["undo", () => this.undo()],
    };
    this.sizes = BRUSHES.map((size) => this.button("brushes", `${size} px`, () => this.choose({ size })));
    this.sizes.forEach((button, i) => {
      const dot = document.createElement("i");
      dot.style.setProperty("--dot", `${4 + 3 * i}px`);
      button.append(dot);
    });
  }

  get open() {
    return !this.canvas.hidden;
  }

  start() {
    const { width, height } = this.picture;
    Object.assign(this.canvas, { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.drawImage(this.picture, 0, 0);
    this.undone = [];
    this.canvas.hidden = this.tools.hidden = false;
    const colours = palette(this.context);
    this.tools.querySelector(".colours").replaceChildren();
    this.swatches = colours.map((colour, i) => {
      const swatch = this.button("colours", i ? "This colour" : "Erase: the commonest colour", () => this.choose({ colour }));
      swatch.style.setProperty("--colour", colour);
      swatch.dataset.colour = colour;
      return swatch;
    });
    this.choose({ colour: colours[1] ?? colours[0], size: this.size });
  }

  close() {
    this.canvas.hidden = this.tools.hidden = true;
  }

  done() {
    const pixels = encode(this.context);
    this.close();
    this.onDone(pixels);
  }

  undo() {
    const before = this.undone.pop();
    if (before) this.context.putImageData(before, 0, 0);
  }

  choose({ colour = this.colour, size = this.size }) {
    Object.assign(this, { colour, size });
    for (const swatch of this.swatches) swatch.setAttribute("aria-pressed", String(swatch.dataset.colour === colour));
    this.sizes.forEach((button, i) => button.setAttribute("aria-pressed", String(BRUSHES[i] === size)));
  }

  // The right button, or Alt, takes the colour under the brush.
  begin(event) {
    const [x, y] = this.place(event);
    if (event.button === 2 || event.altKey) {
      const [r, g, b] = this.context.getImageData(x, y, 1, 1).data;
      return this.choose({ colour: `rgb(${r}, ${g}, ${b})` });
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.undone = [...this.undone.slice(-19), this.context.getImageData(0, 0, this.canvas.width, this.canvas.height)];
    this.last = [x, y];
    this.stroke(event);
  }

  stroke(event) {
    if (event.buttons & 2) return;
    const [x, y] = this.place(event);
    const [fromX, fromY] = this.last ?? [x, y];
    const steps = Math.max(1, Math.abs(x - fromX), Math.abs(y - fromY));
    this.context.fillStyle = this.colour;
    for (let i = 0; i <= steps; i++) {
      const at = (from, to) => Math.round(from + ((to - from) * i) / steps - (this.size - 1) / 2);
      this.context.fillRect(at(fromX, x), at(fromY, y), this.size, this.size);
    }
    this.last = [x, y];
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const inside = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value)));
    const x = ((event.clientX - box.left) / box.width) * this.canvas.width;
    const y = ((event.clientY - box.top) / box.height) * this.canvas.height;
    return [inside(x, this.canvas.width), inside(y, this.canvas.height)];
  }

  button(group, label, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = label;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    this.tools.querySelector(`.${group}`).append(button);
    return button;
  }
}

// The commonest colour of a picture, then others that are far from those before: eight at most.
function palette(context) {
  const { data } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  const counts = new Map();
  for (let i = 0; i < data.length; i += 4) {
    const key = ((data[i] >> 4) << 8) | ((data[i + 1] >> 4) << 4) | (data[i + 2] >> 4);
    const entry = counts.get(key) ?? [0, data[i], data[i + 1], data[i + 2]];
    entry[0] += 1;
    counts.set(key, entry);
  }
  const chosen = [];
  for (const [, ...colour] of [...counts.values()].sort((a, b) => b[0] - a[0])) {
    const far = ([r, g, b]) => Math.abs(r - colour[0]) + Math.abs(g - colour[1]) + Math.abs(b - colour[2]) > 90;
    if (chosen.every(far)) chosen.push(colour);
    if (chosen.length === 8) break;
  }
  return chosen.map((colour) => `rgb(${colour.join(", ")})`);
}

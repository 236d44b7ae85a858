// A shelf of thumbnails: moments or branches. A click takes one; the small cross removes it.

import { draw } from "./wire.js";

export class Shelf {
  constructor(list, { what, onTake, onRemove }) {
    Object.assign(this, { list, what, onTake, onRemove });
    this.pictures = new Map(); // ident -> canvas
  }

  picture(frame) {
    draw(this.canvas(frame.ident), frame);
  }

  canvas(ident) {
    if (!this.pictures.has(ident)) {
      this.pictures.set(ident, Object.assign(document.createElement("canvas"), { width: 128, height: 128 }));
    }
    return this.pictures.get(ident);
  }

  // items: [{ident, index}] in order; active: ident of the one being played, or null
  show(items, fps, active = null) {
    const kept = new Set(items.map(({ ident }) => ident));
    for (const ident of this.pictures.keys()) if (!kept.has(ident)) this.pictures.delete(ident);
    const focused = document.activeElement?.closest("[data-ident]")?.dataset.ident;
    this.list.replaceChildren(...items.map((item, i) => this.card(item, i + 1, fps, active)));
    if (focused) this.list.querySelector(`[data-ident="${focused}"] button`)?.focus();
  }

  card({ ident, index }, number, fps, active) {
    const item = document.createElement("li");
    item.dataset.ident = ident;
    const seconds = `${(index / fps).toFixed(1)} s`;
    const take = document.createElement("button");
    take.type = "button";
    take.className = "take";
    take.setAttribute("aria-label", `${this.what} ${number}, at ${seconds}`);
    const caption = document.createElement("span");
    caption.textContent = ident === active ? "playing" : seconds;
    take.append(this.canvas(ident), caption);
    take.addEventListener("click", () => this.onTake(ident));
    item.append(take);
    if (ident === active) {
      take.setAttribute("aria-current", "true");
      take.disabled = true;
      return item;
    }
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${this.what.toLowerCase()} ${number}`);
    remove.addEventListener("click", () => this.onRemove(ident));
    item.append(remove);
    return item;
  }
}

// What a person has set and wants to find again: kept by the browser, where it keeps anything.

const KEY = "mlxworld";

export class Settings {
  constructor(defaults) {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    } catch {} // no storage, or not ours: the defaults
    this.values = { ...defaults };
    for (const [name, value] of Object.entries(defaults)) if (typeof kept?.[name] === typeof value) this.values[name] = kept[name];
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    this.values[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.values));
    } catch {} // full or forbidden: it lasts as long as the page
  }
}

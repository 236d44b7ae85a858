// What the page measures about itself: the last few hundred values of each thing, and their percentiles.

export class Series {
  constructor(size) {
    this.values = new Float64Array(size);
    this.count = 0;
  }

  add(value) {
    this.values[this.count++ % this.values.length] = value;
  }

  percentiles(...shares) {
    const sorted = this.values.slice(0, Math.min(this.count, this.values.length)).sort();
    return shares.map((share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  }
}

const FEW = 5;

export class Meters {
  constructor() {
    this.reset();
  }

  reset() {
    this.model = new Series(300);
    this.encode = new Series(300);
    this.key = new Series(1000); // from the key in this page to its picture on the canvas
    this.times = [];
    this.drops = 0;
    this.serial = null;
  }

  frame({ serial, cut, modelMs, encodeMs, key }, running) {
    const now = performance.now();
    if (this.serial !== null && serial > this.serial + 1) this.drops += serial - this.serial - 1;
    this.serial = serial;
    if (cut) return;
    this.model.add(modelMs);
    this.encode.add(encodeMs);
    if (running && !Number.isNaN(key)) this.key.add(now - key);
    this.times.push(now);
  }

  // Frames a second, over the last second, or the last FEW frames of a slow world; 0 where fewer came, or while paused.
  fps(running) {
    const now = performance.now();
    const last = (seconds) => (running ? this.times.filter((time) => now - time < 1000 * seconds) : []);
    this.times = last(6).slice(-Math.max(FEW, last(1).length));
    const n = this.times.length;
    return n < FEW ? 0 : ((n - 1) * 1000) / (this.times[n - 1] - this.times[0]);
  }
}

export function pair(series) {
  if (!series.count) return "–";
  const [half, most] = series.percentiles(0.5, 0.99);
  return `${ms(half)} · ${ms(most)} ms`;
}

const ms = (value) => (value < 9.95 ? value.toFixed(1) : Math.round(value));

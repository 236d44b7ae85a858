// A ring of samples between the world's clock and the sound card's. Plain arithmetic: no audio API, so it can be tested.
//
// The world makes `frame` samples a frame at `rate` Hz; the card reads at `out` Hz. The ring starts to play when `target`
// samples wait, and keeps the mean fill there by reading up to 1 % faster or slower, which nobody hears. A world that is
// slower than real time is stretched and keeps its pitch (WSOLA, Verhelst and Roelands 1993): sound is read in hops of
// 10 ms; each fades from what follows the last one to a place a little earlier, where the waves agree best. At full speed
// both are the same place, and the fade changes nothing. Reading is by linear interpolation, so the phase never jumps;
// where the sound must break (nothing left, a cut), the last value fades out over 5 ms and the new fades in.

const STRETCHED = 0.97; // speeds below are stretched
const CALM_S = 10; // seconds without a gap after which less is kept waiting

export class Ring {
  constructor(rate, out, frame) {
    this.ratio = rate / out;
    this.out = out;
    this.frame = frame;
    this.size = 1 << Math.ceil(Math.log2(16 * frame));
    this.samples = new Float32Array(this.size);
    this.fade = 1 / (0.005 * out);
    this.hop = Math.round(0.01 * rate);
    this.reach = Math.round(0.006 * rate); // how far waves are looked for that agree
    this.least = this.target = 1.5 * frame; // grows a little after each gap, and shrinks again
    this.written = 0; // samples ever pushed
    this.start = this.due = 0; // where the present hop is read, and where it would be without looking for a likeness
    this.follow = 0; // where the hop before it would go on
    this.offset = 0; // how far into the hop, with a fraction
    this.mean = this.target; // smoothed fill
    this.speed = 1; // smoothed speed of the world against real time
    this.gain = 0;
    this.last = 0;
    this.playing = false;
    this.draining = true; // paused: play whatever comes, and its end is no gap
    this.gaps = 0;
    this.calm = 0; // samples read since the last gap
  }

  get fill() {
    return this.written - Math.max(this.start, this.follow) - this.offset;
  }

  push(samples, speed = 1) {
    this.speed += (speed - this.speed) * 0.2;
    for (let i = 0; i < samples.length; i++) this.samples[(this.written + i) & (this.size - 1)] = samples[i];
    this.written += samples.length;
    if (this.fill > 8 * this.frame) this.stop(this.written - Math.round(this.target)); // the page slept: to the present
  }

  cut() {
    this.stop(this.written);
  }

  drain(on) {
    this.draining = on;
  }

  stop(at) {
    this.start = this.follow = this.due = at;
    this.offset = 0;
    this.playing = false;
  }

  read(out) {
    this.mean += (this.fill - this.mean) * Math.min(1, out.length / (0.25 * this.frame * 30));
    const off = Math.max(-1, Math.min(1, (this.mean - this.target) / this.target));
    const step = this.ratio * (1 + 0.01 * off);
    for (let i = 0; i < out.length; i++) {
      if (this.playing && this.fill < 2) this.dry();
      if (!this.playing && this.gain <= 0 && this.fill >= (this.draining ? 2 : this.target)) {
        this.playing = true;
        this.mean = this.target;
      }
      if (this.playing) {
        this.last = this.next(step);
        this.gain = Math.min(1, this.gain + this.fade);
      } else {
        this.gain = Math.max(0, this.gain - this.fade);
      }
      out[i] = this.last * this.gain;
    }
    this.calm += this.playing && !this.draining ? out.length : 0;
    if (this.calm > CALM_S * this.out) {
      this.calm = 0;
      this.target = Math.max(this.least, this.target - this.frame / 4);
    }
  }

  dry() {
    if (!this.draining) {
      this.gaps += 1;
      this.calm = 0;
      this.target = Math.min(4 * this.frame, this.target + this.frame / 4);
    }
    this.stop(Math.max(this.start, this.follow) + Math.floor(this.offset));
  }

  next(step) {
    if (this.offset >= this.hop) {
      this.offset -= this.hop;
      this.follow = this.start + this.hop;
      this.due += this.hop * this.speed;
      this.start = this.speed < STRETCHED ? this.alike(Math.round(this.due)) : this.follow;
      if (this.speed >= STRETCHED) this.due = this.start;
    }
    let value = this.at(this.start + this.offset);
    if (this.start !== this.follow) {
      const share = 0.5 - 0.5 * Math.cos((Math.PI * this.offset) / this.hop);
      value = share * value + (1 - share) * this.at(this.follow + this.offset);
    }
    this.offset += step;
    return value;
  }

  at(place) {
    const k = Math.floor(place);
    const [a, b] = [this.samples[k & (this.size - 1)], this.samples[(k + 1) & (this.size - 1)]];
    return a + (b - a) * (place - k);
  }

  // The place near `wanted` whose wave is most like the one that follows the last hop.
  alike(wanted) {
    const length = Math.min(this.hop, this.written - Math.max(this.follow, wanted + this.reach));
    if (length < this.hop / 2) return this.follow; // too little is there to compare
    const oldest = Math.max(0, this.written - this.size);
    let [best, place] = [-Infinity, wanted];
    for (let away = 0; away <= 2 * this.reach; away++) {
      const start = wanted + (away % 2 ? -(away + 1) : away) / 2; // the nearest first: of two alike it is taken
      if (start < oldest) continue;
      let [product, energy] = [0, 1e-9];
      for (let i = 0; i < length; i += 4) {
        const x = this.samples[(start + i) & (this.size - 1)];
        product += x * this.samples[(this.follow + i) & (this.size - 1)];
        energy += x * x;
      }
      const likeness = product / Math.sqrt(energy);
      if (likeness > best * (1 + 1e-6) + 1e-9 || best === -Infinity) [best, place] = [likeness, start];
    }
    return place;
  }
}

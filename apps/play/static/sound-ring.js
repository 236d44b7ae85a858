// A ring of samples between the world's clock and the sound card's. Plain arithmetic: no audio API, so it can be tested.
//
// The world makes `frame` samples a frame at `rate` Hz; the card reads at `out` Hz. The ring starts to play when `target`
// samples wait, keeps the mean fill there by reading up to 1 % faster or slower (nobody hears that), and follows a world
// that is slower than real time at its own speed. Reading is by linear interpolation between neighbours, so the phase
// never jumps; where the sound must break (nothing left, a cut), the last value fades out over 5 ms and the new fades in.

export class Ring {
  constructor(rate, out, frame) {
    this.ratio = rate / out;
    this.frame = frame;
    this.size = 1 << Math.ceil(Math.log2(16 * frame));
    this.samples = new Float32Array(this.size);
    this.fade = 1 / (0.005 * out);
    this.target = 1.5 * frame; // grows a little after each gap
    this.written = 0; // samples ever pushed
    this.at = 0; // where reading is, in samples, with a fraction
    this.mean = this.target; // smoothed fill
    this.speed = 1; // smoothed speed of the world against real time
    this.gain = 0;
    this.last = 0;
    this.playing = false;
    this.draining = true; // paused: play whatever comes, and its end is no gap
    this.gaps = 0;
  }

  get fill() {
    return this.written - this.at;
  }

  push(samples, speed = 1) {
    this.speed += (speed - this.speed) * 0.2;
    for (let i = 0; i < samples.length; i++) this.samples[(this.written + i) % this.size] = samples[i];
    this.written += samples.length;
    if (this.fill > 8 * this.frame) this.stop(this.written - this.target); // the page slept: skip to the present
  }

  cut() {
    this.stop(this.written);
  }

  drain(on) {
    this.draining = on;
  }

  stop(at) {
    this.at = at;
    this.playing = false;
  }

  read(out) {
    this.mean += (this.fill - this.mean) * Math.min(1, out.length / (0.25 * this.frame * 30));
    const off = Math.max(-1, Math.min(1, (this.mean - this.target) / this.target));
    const step = this.ratio * this.speed * (1 + 0.01 * off);
    for (let i = 0; i < out.length; i++) {
      if (this.playing && this.fill < 2) {
        if (!this.draining) {
          this.gaps += 1;
          this.target = Math.min(4 * this.frame, this.target + this.frame / 4);
        }
        this.playing = false;
      }
      if (!this.playing && this.gain <= 0 && this.fill >= (this.draining ? 2 : this.target)) {
        this.playing = true;
        this.mean = this.target;
      }
      if (this.playing) {
        const k = Math.floor(this.at);
        const a = this.samples[k % this.size];
        const b = this.samples[(k + 1) % this.size];
        this.last = a + (b - a) * (this.at - k);
        this.at += step;
        this.gain = Math.min(1, this.gain + this.fade);
      } else {
        this.gain = Math.max(0, this.gain - this.fade);
      }
      out[i] = this.last * this.gain;
    }
  }
}

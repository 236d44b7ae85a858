// Live sound: ring (on the audio thread) -> gain -> analyser -> loudspeaker.

import { Ring } from "./sound-ring.js";

const NO_DEVICE = "No sound: this browser found no audio device. The world plays on without it.";
const NO_AUDIO = "No sound: this browser has no Web Audio. The world plays on without it.";

export class Sound {
  constructor(onNote) {
    this.onNote = onNote; // (text or "") -> shown on the page
    this.context = null;
    this.fill = 0; // seconds that wait to be played
    this.gaps = 0;
    this.volume = 0.8;
    this.muted = false;
    this.arrivals = [];
    this.draining = true;
    this.started = Promise.resolve();
    for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, () => this.wake());
  }

  // A gamepad is no gesture to a browser, and a phone's call stops the sound for good: the next touch or key starts it.
  wake() {
    if (this.context && this.context.state !== "running") this.context.resume().then(() => this.onNote(""), () => {});
  }

  // Must be called from a click or a key: browsers ask for one. Never throws: without sound the world still plays.
  // A second start waits for the first.
  start(rate, samples) {
    this.started = this.started.then(() => this.open(rate, samples));
    return this.started;
  }

  async open(rate, samples) {
    this.rate = rate;
    this.samples = samples;
    try {
      await this.build();
      this.onNote((await this.runs()) ? "" : NO_DEVICE);
    } catch (error) {
      console.warn("sound:", error);
      this.onNote(globalThis.AudioContext ? NO_DEVICE : NO_AUDIO);
    }
  }

  async build() {
    await this.context?.close();
    this.context = this.node = null;
    const context = this.newContext();
    this.gain = context.createGain();
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.wave = new Float32Array(this.analyser.fftSize);
    const node = context.audioWorklet ? await this.worklet(context) : this.script(context);
    node.connect(this.gain).connect(this.analyser).connect(context.destination);
    this.context = context;
    this.node = node;
    this.apply();
    this.tell({ drain: this.draining });
  }

  // At the world's own rate, where the browser has it: the ring resamples to any other.
  newContext() {
    try {
      return new AudioContext({ sampleRate: this.rate, latencyHint: "interactive" });
    } catch (error) {
      if (error.name !== "NotSupportedError") throw error;
      return new AudioContext({ latencyHint: "interactive" });
    }
  }

  async worklet(context) {
    await context.audioWorklet.addModule("sound-worklet.js");
    const processorOptions = { rate: this.rate, samples: this.samples };
    const node = new AudioWorkletNode(context, "world-sound", { numberOfInputs: 0, outputChannelCount: [1], processorOptions });
    node.port.onmessage = ({ data }) => {
      this.fill = data.fill / this.rate;
      this.gaps = data.gaps;
    };
    this.tell = (message) => node.port.postMessage(message);
    return node;
  }

  // Worklets need https or localhost; a phone that opens http://computer:7860 gets the same ring on the page's thread.
  script(context) {
    const ring = new Ring(this.rate, context.sampleRate, this.samples);
    const node = context.createScriptProcessor(1024, 0, 1);
    node.onaudioprocess = ({ outputBuffer }) => {
      ring.read(outputBuffer.getChannelData(0));
      this.fill = ring.fill / this.rate;
      this.gaps = ring.gaps;
    };
    this.tell = ({ cut, drain, sound, speed }) => {
      if (cut) ring.cut();
      if (drain !== undefined) ring.drain(drain);
      if (sound) ring.push(sound, speed);
    };
    return node;
  }

  // Whether the audio clock advances: without a device it stands still, or never leaves "suspended".
  async runs() {
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    await Promise.race([this.context.resume(), pause(1500)]);
    const began = this.context.currentTime;
    for (let tries = 0; tries < 15 && this.context.currentTime === began; tries++) await pause(100);
    return this.context.state === "running" && this.context.currentTime > began;
  }

  // Sound of one frame. fps: of the world; the arrivals of the last second tell how fast the world really runs.
  push({ sound, cut }, fps) {
    if (!this.node || !sound.length) return;
    if (cut) this.arrivals = [];
    this.arrivals.push(performance.now());
    if (this.arrivals.length > fps) this.arrivals.shift();
    const n = this.arrivals.length - 1;
    const measured = n < 4 ? 1 : ((n / fps) * 1000) / (this.arrivals[n] - this.arrivals[0]);
    const slow = measured < (n < 15 ? 0.8 : 0.96); // few arrivals tell only of a world that is much too slow
    const speed = slow ? Math.max(0.2, measured) : 1;
    this.tell({ sound: sound.slice(), speed, cut });
  }

  pause(on) {
    this.draining = on;
    this.arrivals = [];
    if (this.node) this.tell({ drain: on });
  }

  set({ volume = this.volume, muted = this.muted }) {
    [this.volume, this.muted] = [volume, muted];
    this.apply();
  }

  apply() {
    if (!this.context) return;
    const level = this.muted ? 0 : this.volume ** 2;
    this.gain.gain.setTargetAtTime(level, this.context.currentTime, 0.01);
  }

  // Loudness now, 0 to 1: what the level meter shows.
  level() {
    if (!this.context) return 0;
    this.analyser.getFloatTimeDomainData(this.wave);
    return Math.min(1, Math.sqrt(this.wave.reduce((sum, x) => sum + x * x, 0) / this.wave.length) * 3);
  }
}

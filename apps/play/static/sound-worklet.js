// The ring on the audio thread: takes {sound, speed}, {cut}, {drain}; tells {fill, gaps} now and then.

import { Ring } from "./sound-ring.js";

class WorldSound extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate, samples } }) {
    super();
    this.ring = new Ring(rate, sampleRate, samples);
    this.blocks = 0;
    this.port.onmessage = ({ data }) => {
      if (data.cut) this.ring.cut();
      if (data.drain !== undefined) this.ring.drain(data.drain);
      if (data.sound) this.ring.push(data.sound, data.speed);
    };
  }

  process(inputs, outputs) {
    this.ring.read(outputs[0][0]);
    if (++this.blocks % 64 === 0) this.port.postMessage({ fill: this.ring.fill, gaps: this.ring.gaps });
    return true;
  }
}

registerProcessor("world-sound", WorldSound);

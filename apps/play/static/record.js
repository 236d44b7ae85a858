// Video with sound of what is seen and heard, made by the browser: the canvas enlarged to crisp pixels, and the sound.

const TYPES = ["video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm"];
const SIDE = 768;

export class Recorder {
  static type() {
    return globalThis.MediaRecorder ? TYPES.find((type) => MediaRecorder.isTypeSupported(type)) : undefined;
  }

  constructor(source, sound) {
    this.source = source;
    this.sound = sound;
    this.recorder = null;
  }

  get on() {
    return this.recorder !== null;
  }

  start(fps) {
    const scale = Math.max(1, Math.floor(SIDE / Math.max(this.source.width, this.source.height)));
    this.big = Object.assign(document.createElement("canvas"), {
      width: this.source.width * scale,
      height: this.source.height * scale,
    });
    this.paint();
    const stream = this.big.captureStream(fps);
    this.tap = this.sound.stream();
    if (this.tap) stream.addTrack(this.tap.track);
    const chunks = (this.chunks = []);
    this.recorder = new MediaRecorder(stream, { mimeType: Recorder.type(), videoBitsPerSecond: 6e6 });
    this.recorder.ondataavailable = ({ data }) => chunks.push(data);
    this.recorder.start(1000);
  }

  paint() {
    const context = this.big.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.source, 0, 0, this.big.width, this.big.height);
  }

  frame() {
    if (this.on) this.paint();
  }

  // What was recorded is saved even where the browser has ended the recording by itself.
  async stop(name) {
    const { recorder, chunks, tap } = this;
    this.recorder = null;
    if (recorder.state !== "inactive") {
      await new Promise((done) => {
        recorder.onstop = done;
        recorder.stop();
      });
    }
    tap?.close();
    const type = recorder.mimeType.split(";")[0];
    save(new Blob(chunks, { type }), `${name}.${type.endsWith("mp4") ? "mp4" : "webm"}`);
  }
}

export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// The socket: decodes what apps/play/wire.py packs, answers every frame with "seen", and reconnects by itself.

const HEADER = 48;
export const MAX_MESSAGE = 4 * 1024 * 1024; // as in apps/play/wire.py
export const FRAME = 0, MOMENT = 1, BRANCH = 2, BESIDE = 3, OFFER = 4;

export function decode(buffer) {
  const v = new DataView(buffer);
  const samples = v.getUint32(20, true);
  return {
    kind: v.getUint8(0),
    cut: (v.getUint8(1) & 1) !== 0,
    replayed: (v.getUint8(1) & 2) !== 0,
    action: v.getUint16(2, true),
    serial: v.getUint32(4, true),
    index: v.getUint32(8, true),
    ident: v.getUint32(12, true),
    height: v.getUint16(16, true),
    width: v.getUint16(18, true),
    modelMs: v.getFloat32(24, true),
    encodeMs: v.getFloat32(28, true),
    time: v.getFloat64(32, true),
    key: v.getFloat64(40, true),
    sound: new Float32Array(buffer, HEADER, samples),
    picture: new Uint8Array(buffer, HEADER + 4 * samples),
  };
}

export function draw(canvas, { width, height, picture }) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const rgba = image.data;
  for (let i = 0, j = 0; j < rgba.length; i += 3, j += 4) {
    rgba[j] = picture[i];
    rgba[j + 1] = picture[i + 1];
    rgba[j + 2] = picture[i + 2];
    rgba[j + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export class Link {
  // on: {open(), closed({code, reason}), message(object), frame(decoded)}
  constructor(on) {
    this.on = on;
    this.wait = 250;
    this.connect();
  }

  connect() {
    const url = new URL("socket" + location.search, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.wait = 250;
      this.on.open();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") return this.on.message(JSON.parse(data));
      const frame = decode(data);
      if (frame.kind === FRAME) this.send("seen");
      this.on.frame(frame);
    };
    socket.onclose = (event) => {
      this.on.closed(event);
      setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(4000, this.wait * 2);
    };
    this.socket = socket;
  }

  send(type, fields = {}) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify({ type, ...fields }));
    return true;
  }
}

// A socket does not say why it was refused, as a token of an earlier start is; the page's own address does.
export async function refusal() {
  const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
  return answer?.status === 403 ? answer.text() : "";
}

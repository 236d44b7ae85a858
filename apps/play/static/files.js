// Files and links: saving, dropped pictures and logs, and a dream as a link.

export function save(href, name) {
  Object.assign(document.createElement("a"), { href, download: name }).click();
}

export function saveText(text, name) {
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  save(href, name);
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

// The pixels of a picture file, cut to the shape of a world and scaled to its size, as base64 of RGB; null: not a picture.
// aspect: how many times as wide as high a pixel of the world is shown.
export async function pixelsOf(file, [height, width], aspect) {
  const image = await createImageBitmap(file).catch(() => null);
  if (!image) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const scale = Math.max((width * aspect) / image.width, height / image.height);
  const [w, h] = [(image.width * scale) / aspect, image.height * scale];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
  return encode(context);
}

// The pixels of a canvas as base64 of RGB.
export function encode(context) {
  const { width, height } = context.canvas;
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; j < rgba.length; i += 3, j += 4) rgb.set(rgba.subarray(j, j + 3), i);
  return base64(rgb);
}

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

const LONGEST = 8000; // characters of a link that every browser and mail takes

// The address of this page with an action log in it, or null where it would be too long.
export async function linkOf(log) {
  const packed = base64(await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(JSON.stringify(log))));
  const link = new URL(location.pathname, location.origin);
  link.hash = "dream=" + packed.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  return link.href.length > LONGEST ? null : link.href;
}

// Copies a text, or shows it where the browser does not let a page copy (no https). Whether it is copied.
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    prompt(what, text);
    return false;
  }
}

// The action log in the address of this page: undefined where there is none, null where it cannot be read.
export async function logOf(hash) {
  const packed = /^#dream=([\w-]+)$/.exec(hash)?.[1];
  if (!packed) return undefined;
  try {
    const bytes = Uint8Array.from(atob(packed.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
  } catch {
    return null;
  }
}

const MOST = 8 * 1024 * 1024; // bytes of a log that comes out of a link

async function through(stream, bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let size = 0;
  for (let part; !(part = await reader.read()).done; parts.push(part.value)) {
    size += part.value.length;
    if (size > MOST) throw new Error("too long");
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

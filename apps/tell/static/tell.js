// Posts words and pictures, and shows what comes back. The film runs with its sound where that plays, else by itself.

const $ = (id) => document.getElementById(id);
const png = (code) => `data:image/png;base64,${code}`;
let shown = null; // {strip, frames, fps}
let asked = 0; // examples

async function post(path, body) {
  $("error").textContent = "";
  document.body.ariaBusy = "true";
  try {
    const answer = await fetch(path, { method: "POST", body });
    const made = await answer.json();
    if (!answer.ok) throw new Error(made.error);
    return made;
  } catch (error) {
    $("error").textContent = error.message;
    return null;
  } finally {
    document.body.ariaBusy = "false";
  }
}

async function say(event) {
  event.preventDefault();
  const made = await post("scene", $("text").value);
  if (!made) return;
  $("picture").src = png(made.picture);
  $("picture").hidden = false;
  const strip = new Image();
  strip.src = png(made.strip);
  await strip.decode();
  shown = { strip, frames: made.frames, fps: made.fps, begun: performance.now() };
  const bytes = Uint8Array.from(atob(made.sound), (c) => c.charCodeAt(0));
  URL.revokeObjectURL($("sound").src);
  $("sound").src = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
  $("sound").hidden = false;
  $("quiet").textContent = made.peak < 0.01 ? "The sound is silent." : "";
  $("sound").play().catch(() => {}); // a browser may want a click on the player first
  $("film").dataset.frames = made.frames;
}

function draw(now) {
  requestAnimationFrame(draw);
  if (!shown) return;
  const sound = $("sound");
  const seconds = sound.paused ? (now - shown.begun) / 1000 : sound.currentTime;
  const frame = Math.floor(Math.max(0, seconds) * shown.fps) % shown.frames;
  const size = shown.strip.width;
  const canvas = $("film");
  canvas.width = canvas.height = size;
  canvas.getContext("2d").drawImage(shown.strip, 0, frame * size, size, size, 0, 0, size, size);
}

function tell(made) {
  if (!made) return;
  $("seen").src = png(made.seen);
  $("seen").hidden = false;
  $("words").textContent = made.text ? `The model says: ${made.text}` : "The model says nothing.";
  $("truth").textContent = made.truth ? `What is so: ${made.truth}` : "";
}

$("say").addEventListener("submit", say);
$("file").addEventListener("change", async () => {
  if ($("file").files.length) tell(await post("words", $("file").files[0]));
});
$("example").addEventListener("click", async () => tell(await post("example", String(asked++))));
requestAnimationFrame(draw);

const about = await (await fetch("about")).json();
$("name").textContent = about.name;
$("line").textContent = about.line;
$("line").classList.toggle("warn", !about.trained);
if (about.example) {
  $("text").value = about.example;
  $("example").hidden = false;
}

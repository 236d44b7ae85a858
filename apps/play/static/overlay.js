// Over a picture: where bodies are and where they go, their energy as bars, and how possible such a scene is.

const WIDTH = 640; // of the drawing; its height follows the picture's
const BAR = 14; // between two bars of energy
const TALL = 0.2; // of the drawing, the bar of the most energy that was seen
const colour = (i) => `hsl(${(45 + 137.5 * i) % 360} 90% 66%)`;
const inside = ([x, y]) => x > 0 && x < 1 && y > 0 && y < 1;

// The overlays of the dream and of what plays beside. Whether they are shown is a setting of the page: the server reads
// bodies only for who wants to see them.
export class Bodies {
  // send(on): tells the server
  constructor(dream, beside, settings, send) {
    Object.assign(this, { settings, send, state: {}, mine: false });
    this.overlays = { dream: new Overlay(dream), beside: new Overlay(beside) };
  }

  show(physics) {
    for (const [side, overlay] of Object.entries(this.overlays)) overlay.show(physics?.[side] ?? null);
  }

  forget() {
    for (const overlay of Object.values(this.overlays)) overlay.forget();
  }

  // state: the server's; mine: whether this page has the controls
  use(state, mine) {
    Object.assign(this, { state, mine });
    const on = this.settings.get("bodies");
    if (!state.bodies || !state.embodied) this.show(null);
    if (mine && state.embodied && state.bodies !== on) this.send(on);
  }

  toggle() {
    this.settings.set("bodies", !this.settings.get("bodies"));
    this.use(this.state, this.mine);
  }
}

class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.forget();
  }

  // Another world, other energies.
  forget() {
    this.most = 0;
    this.show(null);
  }

  // physics: {bodies: [[x, y, x ahead, y ahead], ...] in sides of the picture, energy: [...] or null, plausibility or
  // null}; null: nothing is known. Bodies outside of the picture are not there.
  show(physics) {
    this.canvas.hidden = !physics;
    if (!physics) return;
    const { canvas } = this;
    const [width, height] = [WIDTH, Math.round((WIDTH * canvas.clientHeight) / canvas.clientWidth) || WIDTH];
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const bodies = physics.bodies.map((body, i) => ({ body, i })).filter(({ body }) => inside(body));
    for (const { body, i } of bodies) this.arrow(context, body, colour(i), width, height);
    if (physics.energy) this.bars(context, bodies.map(({ i }) => [i, physics.energy[i]]), height);
    if (physics.plausibility !== null) this.score(context, physics.plausibility, width);
    const possible = physics.plausibility === null ? "" : `, possible ${Math.round(100 * physics.plausibility)} %`;
    canvas.dataset.told = `${bodies.length} bodies${possible}`;
  }

  arrow(context, [x, y, toX, toY], style, width, height) {
    const [x0, y0, x1, y1] = [x * width, y * height, toX * width, toY * height];
    Object.assign(context, { strokeStyle: style, fillStyle: style, lineWidth: 3 });
    context.beginPath();
    context.arc(x0, y0, 6, 0, 7);
    context.fill();
    const far = Math.hypot(x1 - x0, y1 - y0);
    if (far < 4) return;
    const [ux, uy, head] = [(x1 - x0) / far, (y1 - y0) / far, Math.min(10, far / 2)];
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    for (const side of [1, -1]) {
      context.moveTo(x1, y1);
      context.lineTo(x1 - head * (ux + 0.6 * side * uy), y1 - head * (uy - 0.6 * side * ux));
    }
    context.stroke();
  }

  bars(context, energies, height) {
    this.most = Math.max(this.most, ...energies.map(([, energy]) => energy));
    energies.forEach(([i, energy], place) => {
      const tall = (TALL * height * Math.max(0, energy)) / (this.most || 1);
      context.fillStyle = colour(i);
      context.fillRect(12 + BAR * place, 12 + TALL * height - tall, BAR - 5, Math.max(2, tall));
    });
  }

  score(context, plausibility, width) {
    Object.assign(context, { fillStyle: "#fff", strokeStyle: "#fff", lineWidth: 1.5, font: "16px system-ui, sans-serif" });
    context.textAlign = "right";
    context.fillText(`possible ${Math.round(100 * plausibility)} %`, width - 12, 24);
    context.strokeRect(width - 132, 32, 120, 8);
    context.fillRect(width - 132, 32, 120 * plausibility, 8);
  }
}

// The stage: how large the pictures are, full screen, and the scrubber over the last minute.

const GAP = 16; // between two pictures
const MINUTE = 60;

export class Stage {
  // onSeek(position)
  constructor({ stage, screens, slider, ago, onSeek }) {
    Object.assign(this, { stage, screens, slider, ago });
    this.size = [128, 128];
    this.aspect = 1; // how many times as wide as high a pixel is shown
    this.first = this.last = this.at = 0;
    this.fps = 30;
    slider.addEventListener("input", () => onSeek(Number(slider.value)));
    new ResizeObserver(() => this.fit()).observe(document.documentElement);
    document.addEventListener("fullscreenchange", () => this.fit());
    let rest = 0;
    stage.addEventListener("pointermove", () => {
      stage.classList.add("awake");
      clearTimeout(rest);
      rest = setTimeout(() => stage.classList.remove("awake"), 2500);
    });
  }

  get full() {
    return document.fullscreenElement === this.stage;
  }

  toggleFull() {
    return this.full ? document.exitFullscreen() : this.stage.requestFullscreen?.();
  }

  // Whole device pixels for each pixel of the world, as many as there is room for.
  fit() {
    const [height, width] = [this.size[0], this.size[1] * this.aspect];
    const shown = [...this.screens.children].filter((child) => !child.hidden).length || 1;
    const rest = this.full ? 0 : this.stage.offsetHeight - this.screens.offsetHeight;
    const top = this.full ? 0 : this.stage.parentElement.getBoundingClientRect().top + scrollY; // the stage itself sticks
    const stacked = !this.full && innerWidth <= 600;
    const wide = this.full ? innerWidth : this.stage.clientWidth;
    const side = stacked ? innerHeight * 0.62 : 0;
    const room = {
      x: (wide - (stacked ? 0 : GAP * (shown - 1))) / (stacked ? 1 : shown),
      y: Math.max(side, innerHeight - top - rest - (this.full ? 0 : 8)),
    };
    const ratio = devicePixelRatio || 1;
    const scale = Math.min((room.x * ratio) / width, (room.y * ratio) / height);
    const whole = scale >= 3 ? Math.floor(scale + 0.001) : Math.max(scale, 1);
    const [w, h] = [(whole * width) / ratio, (whole * height) / ratio];
    this.stage.style.setProperty("--width", `${w}px`);
    this.stage.style.setProperty("--height", `${h}px`);
    this.stage.style.setProperty("--wide", `${stacked ? w : shown * w + (shown - 1) * GAP}px`);
  }

  use([height, width], fps, aspect) {
    this.size = [height, width];
    this.aspect = aspect;
    this.fps = fps;
    this.fit();
  }

  // What can be gone back to: the server's word, and then one more frame after another.
  span([first, last], position) {
    [this.first, this.last, this.at] = [first, last, position];
    this.show();
  }

  frame(index, cut) {
    if (cut) return;
    this.at = this.last = index;
    this.first = Math.max(this.first, index - Math.round(MINUTE * this.fps));
    this.show();
  }

  show() {
    Object.assign(this.slider, { min: this.first, max: Math.max(this.last, this.first + 1) });
    this.slider.value = this.at;
    this.slider.style.setProperty("--done", (this.at - this.first) / Math.max(1, this.last - this.first));
    const back = (this.last - this.at) / this.fps;
    this.ago.textContent = back < 0.05 ? clock(this.at / this.fps) : `−${back.toFixed(1)} s`;
    this.slider.setAttribute("aria-valuetext", back < 0.05 ? "now" : `${back.toFixed(1)} seconds ago`);
  }
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

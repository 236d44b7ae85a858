// Notices that the world has stopped answering although the connection stands: a server that hangs or is stopped.

const LIMIT_MS = 2000;

export class Silence {
  // broken(): nothing has come for LIMIT_MS although something was due; over(): something has come again
  constructor({ broken, over }) {
    Object.assign(this, { broken, over });
    this.connected = this.running = this.loading = this.asked = this.reported = false;
    setInterval(() => this.check(), 200);
  }

  // The world greets every page that comes: that is due first.
  begin() {
    this.connected = this.asked = true;
    this.running = this.loading = this.reported = false;
    this.since = performance.now();
  }

  end() {
    this.connected = false;
  }

  // running: frames are due; loading: nothing is due until the world is there
  expect({ running = this.running, loading = this.loading }) {
    Object.assign(this, { running, loading });
    this.since = performance.now();
  }

  // A command was sent: every one of them is answered.
  ask() {
    if (!this.asked && !this.running) this.since = performance.now();
    this.asked = true;
  }

  // The app refused what was asked: the world has not heard of it.
  refused() {
    this.asked = false;
  }

  // Something came that only the world can have sent.
  heard() {
    this.since = performance.now();
    this.asked = false;
    if (this.reported) this.over();
    this.reported = false;
  }

  check() {
    const due = this.connected && !this.loading && (this.running || this.asked);
    if (!due || this.reported || performance.now() - this.since < LIMIT_MS) return;
    this.reported = true;
    this.broken();
  }
}

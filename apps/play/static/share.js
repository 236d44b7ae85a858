// What people show each other: films, action logs, and dreams as links.

import { copy, linkOf, logOf, save, saveText } from "./files.js";
import { $, toast } from "./view.js";

const SECONDS = 15; // of a film of what was shown last

export class Share {
  // command(type, fields) -> whether it was sent; fileName() of a log
  constructor(command, fileName) {
    Object.assign(this, { command, fileName });
    this.linking = false; // whether the action log that comes is for a link
  }

  askLog(linking) {
    this.linking = linking;
    this.command("log");
  }

  // Encoding takes a while.
  askFilm() {
    if (this.command("film", { seconds: SECONDS })) toast(`Making a film of the last ${SECONDS} seconds …`);
  }

  // The dream in the page's address, taken out of it, as an action log; null where there is none.
  async readLink() {
    const log = await logOf(location.hash);
    if (log !== undefined) history.replaceState(null, "", location.pathname + location.search);
    if (log === null) toast("This link holds no dream that can be read.", "bad");
    return log ?? null;
  }

  async log(log) {
    const href = this.linking ? await linkOf(log) : null;
    if (href) return toast((await copy(href, "A link to this very dream:")) ? "A link to this very dream is copied." : "", "good");
    saveText(JSON.stringify(log), `${this.fileName()}.json`);
    if (this.linking) toast("This dream is too long for a link: its action log is saved in its place.");
  }

  film({ path, name, seconds, place }) {
    save(new URL(path + location.search, location.href).href, name);
    toast(`A film of ${seconds} s is saved: ${name}`, "good");
    if (place) $("place").textContent = `Recordings are kept here, too: ${place}`;
    $("place").hidden = !place;
  }
}

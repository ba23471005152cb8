// The developer's drawer: raw frames, the cursor, the view as code, and a dropped connection on demand.

import { byId, el, perFrame, say } from "./dom.js";
import * as snippets from "./snippets.js";

const LINES = 200;
const LONGEST = 1500;
const AWAY_MS = 3000;

export class Drawer {
  #stream;
  #clock;
  #drawer = byId("drawer");
  #toggle = byId("drawer-toggle");
  #lines = []; // waiting to be drawn
  #paused = false;
  #passed = 0;
  #gap = null;
  draw = perFrame(() => this.#draw());

  constructor(stream, clock) {
    this.#stream = stream;
    this.#clock = clock;
    this.#toggle.addEventListener("click", () => this.#open(this.#drawer.hidden));
    byId("drawer-close").addEventListener("click", () => this.#open(false));
    addEventListener("keydown", (event) => event.key === "Escape" && !this.#drawer.hidden && this.#open(false));
    byId("pause").addEventListener("click", ({ currentTarget }) => this.#pause(currentTarget));
    byId("drop").addEventListener("click", () => this.#drop());
    for (const language of ["curl", "javascript", "python"]) {
      byId(`copy-${language}`).addEventListener("click", () => this.#copy(language));
    }
  }

  line(direction, text) {
    if (this.#paused) this.#passed += 1;
    else {
      this.#lines.push([direction, text]);
      if (this.#lines.length > LINES) this.#lines.shift();
    }
    if (!this.#drawer.hidden) this.draw();
  }

  /** Every message passes here, so that the gap can be counted. */
  message(message, isNew) {
    const gap = this.#gap;
    if (gap === null || gap.done) return;
    if (message.type === "subscribed") {
      gap.recovered = message.recovered;
      gap.backAt = this.#clock.now();
    } else if (message.type === "reset") {
      gap.reset = message.reason;
      gap.done = true;
    } else if (message.type === "event" && gap.backAt !== null) {
      // What was accepted after the return is live again.
      if (Date.parse(message.event.accepted_at) > gap.backAt) gap.done = true;
      else if (isNew) {
        gap.count += 1;
        gap.first ??= message.cursor;
        gap.last = message.cursor;
      } else gap.twice += 1;
    } else if (message.type === "heartbeat") gap.done = true;
    this.#tell();
  }

  #open(open) {
    this.#drawer.hidden = !open;
    document.body.classList.toggle("with-drawer", open);
    this.#toggle.setAttribute("aria-expanded", String(open));
    if (open) {
      this.draw();
      byId("drawer-close").focus();
    } else this.#toggle.focus();
  }

  #pause(button) {
    this.#paused = !this.#paused;
    if (!this.#paused) this.#passed = 0;
    button.setAttribute("aria-pressed", String(this.#paused));
    say(button, this.#paused ? "Go on" : "Pause");
    this.draw();
  }

  #draw() {
    if (this.#drawer.hidden) return;
    say(byId("cursor"), this.#stream.cursor ?? "none yet");
    say(byId("passed"), this.#passed ? `${this.#passed} lines passed meanwhile` : "");
    if (this.#lines.length === 0) return;
    const log = byId("frames");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(...this.#lines.map(([direction, text]) => this.#line(direction, text)));
    this.#lines = [];
    while (log.childElementCount > LINES) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  #line(direction, text) {
    const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)} … ${text.length - LONGEST} more` : text;
    return el("div", { class: direction }, el("span", { class: "way" }, direction === "in" ? "← " : "→ "), cut);
  }

  #drop() {
    this.#gap = { from: this.#stream.cursor, count: 0, twice: 0, first: null, last: null, recovered: null, backAt: null, done: false };
    this.#stream.drop(AWAY_MS);
    this.#tell();
  }

  #tell() {
    const { from, count, twice, first, last, recovered, backAt, reset } = this.#gap;
    const rows = [["left after", from ?? "—"]];
    if (backAt === null) rows.push(["state", `away for ${AWAY_MS / 1000} s …`]);
    else {
      rows.push(["recovered", String(recovered)], ["events in the gap", String(count)]);
      rows.push(["first", first ?? "none"], ["last", last ?? "none"], ["twice", String(twice)]);
      if (reset) rows.push(["reset", reset]);
    }
    const node = byId("gap");
    node.hidden = false;
    node.dataset.recovered = String(recovered);
    node.dataset.count = String(count);
    node.replaceChildren(...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  }

  async #copy(language) {
    const { origin } = location;
    const { channel, cursor } = this.#stream;
    if (channel === null) return;
    const matchId = channel.slice("match:".length);
    const text = language === "curl" ? snippets.curl(origin, matchId) : snippets[language](origin, channel, cursor);
    // Shown as well: the clipboard is closed to pages that are not on HTTPS or localhost.
    byId("snippet").value = text;
    byId("snippet").hidden = false;
    try {
      await navigator.clipboard.writeText(text);
      say(byId("copied"), `${language} copied`);
    } catch {
      byId("snippet").select();
      say(byId("copied"), "select and copy it by hand");
    }
  }
}

// The timeline, newest first. A line that was revised is struck through, and its revision stands beside it.

import { byId, el, icon, perFrame, say } from "./dom.js";
import { Match } from "./model.js";
import { describe, iconOf, isGoal, minuteOf } from "./words.js";

const INCIDENTS = new Set(
  ("goal own_goal red_card second_yellow_card yellow_card penalty_awarded var_review substitution " +
    "period_start period_end match_end").split(" "),
);
const HIGHLIGHTS = new Set([...INCIDENTS, "shot", "save"]);
const FILTERS = { incidents: (type) => INCIDENTS.has(type), highlights: (type) => HIGHLIGHTS.has(type), everything: () => true };
const CHUNK = 300;

export class Timeline {
  #list = byId("timeline");
  #filter = FILTERS.highlights;
  #match = null;
  #next = 0; // the next item of the match to look at
  #changed = new Set();
  #lines = new Map();
  #fresh = new Set();
  draw = perFrame(() => this.#draw());

  constructor() {
    for (const radio of document.querySelectorAll('input[name="filter"]')) {
      radio.addEventListener("change", () => {
        this.#filter = FILTERS[radio.value];
        this.show(this.#match);
      });
    }
  }

  /** Start over with this match. */
  show(match) {
    this.#match = match;
    this.#next = 0;
    this.#changed.clear();
    this.#fresh.clear();
    this.#lines.clear();
    this.#list.replaceChildren();
    this.draw();
  }

  /** An item is new or was revised; `fresh` when it happened just now. */
  changed(item, fresh) {
    if (item.seq < this.#next) {
      this.#changed.add(item);
      // The score after later goals may be another one now.
      if (isGoal(item.event.type)) this.#after(item);
    }
    if (fresh) this.#fresh.add(item);
    this.draw();
  }

  #after(item) {
    for (const later of this.#match.goalsAfter(item)) if (later.seq < this.#next) this.#changed.add(later);
  }

  #passes(item) {
    return this.#filter(item.event.type) || item.revisions.some((revision) => this.#filter(revision.type));
  }

  #draw() {
    if (this.#match === null) return;
    for (const item of this.#changed) this.#redraw(item);
    this.#changed.clear();
    const { items } = this.#match;
    const made = document.createDocumentFragment();
    const upto = Math.min(items.length, this.#next + CHUNK);
    for (; this.#next < upto; this.#next += 1) {
      const item = items[this.#next];
      if (!this.#passes(item)) continue;
      const line = this.#line(item);
      this.#lines.set(item, line);
      made.prepend(line);
    }
    this.#list.prepend(made);
    this.#fresh.clear();
    this.#list.setAttribute("aria-busy", String(this.#next < items.length));
    if (this.#next < items.length) this.draw();
    else say(byId("timeline-count"), this.#lines.size ? `${this.#lines.size} of ${items.length}` : "");
    byId("timeline-empty").hidden = this.#lines.size > 0;
  }

  #redraw(item) {
    const old = this.#lines.get(item);
    const made = this.#passes(item) ? this.#line(item) : null;
    if (old && made) old.replaceWith(made);
    else if (made) {
      // A revision made it pass the filter: it goes where it belongs in the order.
      const after = [...this.#list.children].find((line) => Number(line.dataset.seq) < item.seq);
      this.#list.insertBefore(made, after ?? null);
    }
    if (made) this.#lines.set(item, made);
  }

  #line(item) {
    const { event, revisions } = item;
    const shown = Match.standing(item) ?? event;
    const revised = revisions.length > 0;
    const names = ["line", this.#match.sideOf(event), `is-${event.type}`];
    if (isGoal(shown.type)) names.push("is-big");
    if (revised) names.push("revised");
    if (item.undone) names.push("undone");
    if (this.#fresh.has(item)) names.push("fresh");
    const what = el("div", { class: "what" }, revised ? this.#struck(event) : this.#words(event, item));
    revisions.forEach((revision, place) => what.append(this.#revision(item, revision, place === revisions.length - 1)));
    return el(
      "li",
      { class: names.filter(Boolean).join(" "), "data-event-id": event.event_id, "data-seq": item.seq },
      el("span", { class: "minute" }, minuteOf(event.minute)),
      this.#icon(event),
      what,
    );
  }

  #icon(event) {
    const name = iconOf(event.type);
    if (name === "card") return el("i", { class: `card ${event.type}`, "aria-hidden": "true" });
    if (name === "cards") return el("i", { class: "card second_yellow_card", "aria-hidden": "true" });
    return icon(name);
  }

  #words(event, item = null) {
    const { title, who, detail } = describe(event, (id) => this.#match.nameOf(id));
    return el(
      "p",
      {},
      item && isGoal(event.type) && event.period !== "shootout" && this.#score(item),
      el("b", {}, title),
      who && el("span", { class: "who" }, ` ${who}`),
      detail && el("small", {}, ` ${detail}`),
    );
  }

  #score(item) {
    const { home, away } = this.#match.scoreAfter(item);
    return el("span", { class: "after" }, `${home}–${away}`);
  }

  #struck(event) {
    return el("del", {}, el("span", { class: "hidden" }, "Revised: "), this.#words(event));
  }

  #revision(item, revision, last) {
    const attributes = { class: "revision", "data-event-id": revision.event_id, "data-of": revision.of };
    const gone = revision.action === "delete";
    const tag = el("span", { class: "tag" }, last && item.undone ? "no goal" : gone ? "removed" : "revised");
    const words = gone ? el("p", {}, "Taken out by the source") : this.#words(revision, last ? item : null);
    return el(last ? "ins" : "del", attributes, tag, words);
  }
}

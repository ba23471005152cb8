// The scoreboard: number plates, clock, scorers, the line of the match, and its statistics.

import { byId, el, icon, say, svg } from "./dom.js";
import { isGoal, minuteOf, statusOf } from "./words.js";

// Block numerals as strokes in a box of 60 x 96, like those that are hung on a board.
const DIGITS = [
  "M12 24 22 13H38L48 24V72L38 83H22L12 72Z",
  "M17 27 32 13V90",
  "M12 32V24L22 13H38L48 24V38L13 76V83H55",
  "M12 30V24L22 13H38L48 24V37L38 47H25M38 47 48 57V72L38 83H22L12 72V66",
  "M39 90V13L12 57V66H55",
  "M49 13H14V43H38L48 53V72L38 83H22L12 72V66",
  "M48 30V24L38 13H22L12 24V72L22 83H38L48 72V54L38 44H12",
  "M8 13H47V22L25 90",
  "M22 47 12 37V24L22 13H38L48 24V37L38 47ZM22 47 12 58V72L22 83H38L48 72V58L38 47",
  "M48 52H22L12 42V24L22 13H38L48 24V72L38 83H22L12 72V66",
];

function plate(score) {
  const drawn = [...String(score)].map((digit) =>
    svg("svg", { viewBox: "0 0 60 96", class: "digit", "aria-hidden": "true" }, svg("path", { d: DIGITS[digit] })),
  );
  return el("span", { class: "plate" }, ...drawn, el("span", { class: "hidden" }, String(score)));
}

export class Board {
  #node = byId("board");
  #shown = "";

  /** Draw what has changed; `fresh` lets a changed score turn over. */
  draw(match, fresh) {
    const sheet = match.sheet;
    this.#node.classList.toggle("empty", sheet === null);
    if (sheet === null) return;
    this.#node.dataset.match = sheet.match_id;
    for (const side of ["home", "away"]) {
      say(byId(`${side}-name`), sheet[side].name);
      this.#plate(side, sheet[side].score, fresh);
    }
    const live = sheet.status === "live";
    this.#node.classList.toggle("live", live);
    say(byId("status"), statusOf(sheet));
    say(byId("minute"), live && sheet.minute ? minuteOf(sheet.minute) : "");
    this.#shootout(match);
    this.#stats(sheet);
    const lines = JSON.stringify([sheet.match_id, sheet.incidents, match.undone.map((item) => item.event.event_id)]);
    if (lines === this.#shown) return;
    this.#shown = lines;
    this.#incidents(match);
    this.#line(match);
  }

  #plate(side, score, fresh) {
    const place = byId(`${side}-score`);
    if (place.dataset.score === String(score)) return;
    const turned = fresh && place.dataset.score !== undefined;
    place.dataset.score = score;
    const made = plate(score);
    if (turned) made.classList.add("turned");
    place.replaceChildren(made);
  }

  #shootout(match) {
    const { home, away, period } = match.sheet;
    const place = byId("shootout");
    const shown = period === "shootout" || home.shootout !== undefined;
    place.hidden = !shown;
    if (!shown) return;
    const kicks = match.kicks();
    const key = JSON.stringify([home.shootout, away.shootout, kicks]);
    if (place.dataset.key === key) return;
    place.dataset.key = key;
    const dots = (side) =>
      el("span", { class: `kicks ${side}`, "aria-hidden": "true" }, ...kicks[side].map((in_) => el("i", { class: in_ ? "in" : "out" })));
    place.replaceChildren(
      dots("home"),
      el("span", { class: "shootout-score" }, el("small", {}, "Penalties "), `${home.shootout ?? 0}–${away.shootout ?? 0}`),
      dots("away"),
    );
  }

  /** Scorers and cards under each team; goals that were taken back stay, struck through. */
  #incidents(match) {
    const { sheet } = match;
    for (const side of ["home", "away"]) {
      const people = new Map();
      for (const incident of sheet.incidents) {
        const own = incident.type === "own_goal";
        const goal = isGoal(incident.type);
        if (goal && !incident.minute) continue; // The shoot-out has its own line.
        if (!goal && !incident.type.endsWith("_card")) continue;
        const of = match.sideOf(incident);
        if ((own ? (of === "home" ? "away" : "home") : of) !== side) continue;
        const key = `${goal ? "goal" : "card"}:${own}:${incident.player}`;
        if (!people.has(key)) people.set(key, []);
        people.get(key).push(incident);
      }
      const lines = [...people.values()].map((of) => this.#person(of));
      const undone = match.undone
        .filter((item) => match.sideOf(item.event) === side)
        .map(({ event }) =>
          el("li", { class: "undone", "data-undone": event.event_id }, icon("ball"),
            el("span", {}, el("del", {}, `${event.player ?? "Goal"} ${minuteOf(event.minute)}`), " ", el("b", { class: "tag" }, "no goal"))));
      const goals = lines.filter((line) => line.classList.contains("goal"));
      const cards = lines.filter((line) => !line.classList.contains("goal"));
      byId(`${side}-incidents`).replaceChildren(...goals, ...undone, ...cards);
    }
  }

  #person(incidents) {
    const [first] = incidents;
    const goal = isGoal(first.type);
    const line = el("li", { class: goal ? "goal" : "booking" });
    if (goal) line.append(icon("ball"));
    else line.append(...incidents.map((one) => el("i", { class: `card ${one.type}`, role: "img", "aria-label": one.type.replaceAll("_", " ") })));
    line.append(el("span", { class: "who" }, first.player ?? (goal ? "Goal" : "Card")));
    if (first.type === "own_goal") line.append(el("small", {}, " (og)"));
    for (const one of incidents) {
      line.append(el("span", { class: "minute", "data-incident": one.event_id, "data-type": one.type }, ` ${minuteOf(one.minute)}`));
    }
    return line;
  }

  /** The match from left to right: what happened when, home above and away below. */
  #line(match) {
    const { sheet } = match;
    const minutes = (text) => String(text).split("+").reduce((sum, part) => sum + Number(part), 0);
    const extra = sheet.period?.endsWith("extratime") || sheet.period === "shootout" || sheet.incidents.some((i) => minutes(i.minute) > 105);
    const end = extra ? 120 : 90;
    const at = (minute) => `${Math.min(100, (100 * minutes(minute)) / end)}%`;
    const marks = sheet.incidents.filter((i) => i.minute && (isGoal(i.type) || i.type.endsWith("_card")));
    const nodes = (extra ? [45, 90, 105] : [45]).map((minute) => {
      const tick = el("i", { class: "tick" });
      tick.style.left = at(minute);
      return tick;
    });
    for (const incident of marks) {
      const own = incident.type === "own_goal";
      const of = match.sideOf(incident);
      const side = own ? (of === "home" ? "away" : "home") : of;
      const mark = el("i", { class: `mark ${side} ${isGoal(incident.type) ? "goal" : `card ${incident.type}`}` });
      mark.style.left = at(incident.minute);
      nodes.push(mark);
    }
    const done = el("i", { class: "done" });
    this.progress = (minute, final) => {
      done.style.width = final ? "100%" : at(minute ?? 0);
    };
    byId("match-line").replaceChildren(done, ...nodes);
    this.progress(sheet.minute, sheet.status === "final" || sheet.period === "shootout");
  }

  #stats(sheet) {
    this.progress?.(sheet.minute, sheet.status === "final" || sheet.period === "shootout");
    const { home, away } = sheet;
    const known = home.possession !== null && home.possession !== undefined;
    byId("possession").hidden = !known;
    if (known) {
      byId("possession-bar").style.width = `${home.possession}%`;
      say(byId("home-possession"), `${Math.round(home.possession)}%`);
      say(byId("away-possession"), `${100 - Math.round(home.possession)}%`);
    }
    for (const side of ["home", "away"]) {
      say(byId(`${side}-shots`), String(sheet[side].shots));
      say(byId(`${side}-yellow`), String(sheet[side].yellow_cards));
      say(byId(`${side}-red`), String(sheet[side].red_cards));
    }
  }
}

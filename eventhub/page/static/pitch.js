// The pitch, seen from above: 105 x 68 m. eventhub's origin is the centre, home attacks +x, and +y is the left of that
// attack, so that it points up here, where SVG's y grows downwards.

import { byId, perFrame, say, svg } from "./dom.js";
import { describe } from "./words.js";

const STALE_MS = 8_000;
const AT_GOAL = new Set(["goal", "shot"]);
const clamp = (value, most) => Math.max(-most, Math.min(most, value));
const X = (x) => 52.5 + clamp(x, 53);
const Y = (y) => 34 - clamp(y, 34.5);
const round = (value) => Math.round(value * 100) / 100;

export class Pitch {
  #actions = byId("actions");
  #players = byId("players");
  #ball = byId("ball");
  #dots = new Map();
  #match = null;
  #now;
  draw = perFrame(() => this.#draw());

  constructor(now) {
    this.#now = now;
    // Positions that are no longer sent must not look as if they were.
    setInterval(() => this.draw(), 2000);
  }

  show(match) {
    this.#match = match;
    this.draw();
  }

  #draw() {
    const match = this.#match;
    if (match === null) return;
    const { actions } = match;
    this.#actions.replaceChildren(...actions.map((action, place) => this.#action(action, actions.length - 1 - place)));
    say(byId("pitch-home"), match.sheet?.home.name ?? "");
    say(byId("pitch-away"), match.sheet?.away.name ?? "");
    this.#caption(actions.at(-1)?.event);
    this.#positions(match);
  }

  #caption(event) {
    if (!event) return say(byId("pitch-caption"), "");
    const { title, who, detail } = describe(event, (id) => this.#match.nameOf(id));
    return say(byId("pitch-caption"), [title, who, detail].filter(Boolean).join(" · "));
  }

  /** An arrow where the action had an end, else a ring; the older, the fainter. */
  #action({ event }, age) {
    const { payload, type } = event;
    const side = this.#match.sideOf(event);
    const group = svg("g", { class: `action ${side} is-${type}${age === 0 ? " newest" : ""}`, "data-action": event.event_id });
    group.style.opacity = round(Math.max(0.1, 1 - age * 0.1));
    const from = [X(payload.x), Y(payload.y)];
    let to = null;
    if (Number.isFinite(payload.end_x) && Number.isFinite(payload.end_y)) to = [X(payload.end_x), Y(payload.end_y)];
    else if (AT_GOAL.has(type)) to = [side === "away" ? 0 : 105, 34];
    if (to) group.append(...this.#arrow(from, to, AT_GOAL.has(type) ? 0 : 0.1));
    else group.append(svg("circle", { cx: round(from[0]), cy: round(from[1]), r: 1.5, class: "ring" }));
    if (type === "goal" || type === "own_goal") {
      group.append(svg("circle", { cx: round(from[0]), cy: round(from[1]), r: 2.6, class: "ring" }));
    }
    return group;
  }

  #arrow([x1, y1], [x2, y2], bend) {
    const [dx, dy] = [x2 - x1, y2 - y1];
    const length = Math.hypot(dx, dy);
    if (length < 0.6) return [svg("circle", { cx: round(x1), cy: round(y1), r: 1, class: "ring" })];
    // A slight bend keeps a chain of passes readable; the head follows the end of the bend.
    const [cx, cy] = [(x1 + x2) / 2 + dy * bend, (y1 + y2) / 2 - dx * bend];
    const angle = Math.atan2(y2 - cy, x2 - cx);
    const head = Math.min(2.2, length / 2);
    const [bx, by] = [x2 - head * 0.8 * Math.cos(angle), y2 - head * 0.8 * Math.sin(angle)];
    const corner = (turn) => `${round(x2 - head * Math.cos(angle + turn))} ${round(y2 - head * Math.sin(angle + turn))}`;
    return [
      svg("path", { class: "shaft", d: `M${round(x1)} ${round(y1)}Q${round(cx)} ${round(cy)} ${round(bx)} ${round(by)}` }),
      svg("path", { class: "head", d: `M${round(x2)} ${round(y2)}L${corner(0.45)}L${corner(-0.45)}Z` }),
      svg("circle", { cx: round(x1), cy: round(y1), r: 0.55, class: "foot" }),
    ];
  }

  #positions(match) {
    const { frame } = match;
    const stale = !frame || this.#now() - match.frameAt > STALE_MS;
    this.#players.classList.toggle("stale", stale);
    this.#ball.classList.toggle("stale", stale || !Array.isArray(frame?.ball));
    if (!frame) {
      this.#players.replaceChildren();
      this.#dots.clear();
      return;
    }
    const present = new Set();
    for (const [id, x, y] of frame.players ?? []) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
      present.add(id);
      const dot = this.#dots.get(id) ?? this.#dot(match, id);
      dot.setAttribute("class", `player ${match.sideOfPlayer(id)}`);
      dot.style.transform = `translate(${round(X(x))}px, ${round(Y(y))}px)`;
    }
    for (const [id, dot] of this.#dots) {
      if (present.has(id)) continue;
      dot.remove();
      this.#dots.delete(id);
    }
    const [x, y] = frame.ball ?? [];
    if (Number.isFinite(x) && Number.isFinite(y)) this.#ball.style.transform = `translate(${round(X(x))}px, ${round(Y(y))}px)`;
  }

  #dot(match, id) {
    const shirt = /(?:^|[^0-9])(\d{1,2})$/.exec(String(id))?.[1] ?? "";
    const dot = svg(
      "g",
      { "data-player": id },
      svg("title", {}, match.nameOf(id)),
      svg("circle", { r: 1.6 }),
      svg("text", { y: 0.62 }, shirt),
    );
    this.#players.append(dot);
    this.#dots.set(id, dot);
    return dot;
  }
}

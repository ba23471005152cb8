// A match as the page knows it: what the channel said, and what of it was revised. No DOM here.

import { PERIODS, isGoal } from "./words.js";

const ASIDE = new Set(["state", "stats", "tracking_frame", "translation", "post"]);
const SHOWN_ACTIONS = 10;
const number = (value) => typeof value === "number" && Number.isFinite(value);

/** Whether this sheet is not older than the other: status, period and clock never go back. */
export function isNewer(sheet, other) {
  if (other === null || other.match_id !== sheet.match_id) return true;
  const place = (one) => [one.status === "final" ? 1 : 0, PERIODS.indexOf(one.period), one.clock_s ?? -1];
  const [mine, theirs] = [place(sheet), place(other)];
  for (let i = 0; i < mine.length; i += 1) if (mine[i] !== theirs[i]) return mine[i] > theirs[i];
  return true;
}

export class Match {
  sheet = null;
  items = []; // in log order: {event, seq, revisions}
  posts = [];
  actions = []; // the last ten with a place on the pitch
  frame = null;
  frameAt = 0;
  undone = []; // goals that a revision took back
  lastAcceptedAt = 0;
  duplicates = 0;
  received = 0;
  #byId = new Map();
  #ids = new Set();
  #teams = new Map();
  #names = new Map();

  constructor(id) {
    this.id = id;
  }

  /** Take a sheet; says whether it is now the one that is shown. */
  see(sheet) {
    if (!isNewer(sheet, this.sheet)) return false;
    this.sheet = sheet;
    return true;
  }

  /** Take an event; returns the item of the timeline that is new or changed, the post, or null. */
  add(event) {
    if (this.#ids.has(event.event_id)) {
      this.duplicates += 1;
      return null;
    }
    this.#ids.add(event.event_id);
    this.received += 1;
    const acceptedAt = Date.parse(event.accepted_at);
    this.lastAcceptedAt = Math.max(this.lastAcceptedAt, acceptedAt);
    this.#meet(event);
    if (event.type === "tracking_frame") {
      this.frame = event.payload;
      this.frameAt = acceptedAt;
      return null;
    }
    if (event.type === "state") {
      if (event.payload?.sheet) this.see(event.payload.sheet);
      return null;
    }
    if (event.type === "post" || event.type === "translation") return this.#post(event);
    return ASIDE.has(event.type) ? null : this.#item(event);
  }

  has(eventId) {
    return this.#ids.has(eventId);
  }

  /** "home", "away" or "" for an event or incident. */
  sideOf({ team_id: team }) {
    if (!team || this.sheet === null) return "";
    return team === this.sheet.home.id ? "home" : team === this.sheet.away.id ? "away" : "";
  }

  /** The side of a player: of his events, else of an id that begins with his team's. */
  sideOfPlayer(playerId) {
    const known = this.#teams.get(playerId);
    if (known) return this.sideOf({ team_id: known });
    for (const side of ["home", "away"]) {
      if (this.sheet && String(playerId).startsWith(`${this.sheet[side].id}-`)) return side;
    }
    return "";
  }

  nameOf(playerId) {
    return this.#names.get(playerId) ?? String(playerId ?? "");
  }

  /** The item's event that stands now: the last revision, or null once it was deleted. */
  static standing(item) {
    const last = item.revisions.at(-1) ?? item.event;
    return last.action === "delete" ? null : last;
  }

  /** The kicks of the shoot-out, by side: true for a goal. */
  kicks() {
    const found = { home: [], away: [] };
    for (const item of this.items) {
      const event = Match.standing(item);
      if (event?.period !== "shootout" || (event.type !== "goal" && event.type !== "shot")) continue;
      found[this.sideOf(event)]?.push(event.type === "goal");
    }
    return found;
  }

  /** The score after a goal of regular or extra time, by what stands now. */
  scoreAfter(item) {
    const score = { home: 0, away: 0 };
    for (const { type, side } of this.#goalsUpTo(item)) score[type === "goal" ? side : side === "home" ? "away" : "home"] += 1;
    return score;
  }

  /** The items of goals that came after this one. */
  goalsAfter(item) {
    return this.items.slice(item.seq + 1).filter((later) => isGoal(Match.standing(later)?.type));
  }

  #goalsUpTo(item) {
    return this.items
      .slice(0, item.seq + 1)
      .map(Match.standing)
      .filter((event) => isGoal(event?.type) && event.period !== "shootout")
      .map((event) => ({ type: event.type, side: this.sideOf(event) }));
  }

  #meet(event) {
    if (!event.player_id) return;
    if (event.team_id) this.#teams.set(event.player_id, event.team_id);
    if (event.player) this.#names.set(event.player_id, event.player);
  }

  #item(event) {
    const root = this.#byId.get(event.of ?? event.event_id);
    if (root) {
      const before = Match.standing(root);
      root.revisions.push(event);
      if ((event.revision ?? 0) < (root.event.revision ?? 0)) {
        // The revision had overtaken what it revises.
        root.revisions.splice(-1, 1, root.event);
        root.event = event;
      }
      root.revisions.sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
      const now = Match.standing(root);
      root.undone = isGoal(root.event.type) && !isGoal(now?.type);
      if (before && isGoal(before.type) && root.undone) this.undone.push(root);
      if (!root.undone) this.undone = this.undone.filter((one) => one !== root);
      this.#act(now, root);
      return root;
    }
    const item = { event, seq: this.items.length, revisions: [], undone: false };
    this.items.push(item);
    this.#byId.set(event.event_id, item);
    // A revision that came before what it revises is found under the same root.
    if (event.of) this.#byId.set(event.of, item);
    this.#act(event, item);
    return item;
  }

  #act(event, item) {
    this.actions = this.actions.filter((one) => one.item !== item || event === one.event);
    const payload = event?.payload;
    if (!payload || !number(payload.x) || !number(payload.y) || event.action === "delete") return;
    if (event.revision && this.items.length - item.seq > SHOWN_ACTIONS) return;
    this.actions.push({ item, event });
    this.actions = this.actions.slice(-SHOWN_ACTIONS);
  }

  #post(event) {
    if (event.type === "post") {
      const post = { event, translations: [] };
      this.posts.push(post);
      this.#byId.set(event.event_id, post);
      return post;
    }
    const post = this.#byId.get(event.of);
    if (!post?.translations) return null;
    post.translations.push(event);
    return post;
  }
}

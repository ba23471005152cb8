// The page: reads the matches, follows the chosen one, and hands each message to the views.

import { Board } from "./board.js";
import { byId, el, perFrame, say } from "./dom.js";
import { Drawer } from "./drawer.js";
import { Match } from "./model.js";
import { Pitch } from "./pitch.js";
import { Posts } from "./posts.js";
import { Clock, Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { isGoal, minuteOf, statusOf } from "./words.js";

const POLL_MS = 5_000;
const SILENT_MS = 60_000;
const DELAYED_MS = 2_000;
const RECENT = 20;
const NOTICES = { degraded: "Some parts are degraded.", read_only: "The platform is read-only. The live feed goes on." };

const clock = new Clock();
const timeline = new Timeline();
const pitch = new Pitch(() => clock.now());
const posts = new Posts();
const board = new Board();
const stream = new Stream({ getToken, clock, hooks: { status: () => chip(), line, message, frame } });
const drawer = new Drawer(stream, clock);

let match = null;
let sheets = [];
let access = null;
let own = true; // whether this node gives the page tokens
let since = Infinity; // server time from which events happen now; before it they are history
let delays = [];
let skipped = 0;
let fresh = false;
const redraw = perFrame(draw);

async function getToken(stale) {
  if (!stale && access !== null) return access;
  if (own) {
    const asked = Date.now();
    const answer = await fetch("page/token", { method: "POST" });
    if (answer.status === 404) own = false;
    else if (!answer.ok) throw new Error(`no token: ${(await answer.json()).detail}`);
    else {
      access = await answer.json();
      clock.learn(access.server_time, Date.now() - asked);
      return access;
    }
  }
  if (access === null) access = { token: await ask() };
  return access;
}

/** Without a token of its own the page asks its reader; the token stays in memory only. */
function ask() {
  byId("ask").hidden = false;
  return new Promise((resolve) => {
    byId("ask").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        byId("ask").hidden = true;
        resolve(byId("token").value.trim());
      },
      { once: true },
    );
  });
}

async function read(path) {
  const { token } = await getToken(false);
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` } });
  if (answer.status === 401) access = null;
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer.json();
}

async function poll() {
  try {
    sheets = (await read("v1/matches")).items;
    const mine = sheets.find((sheet) => sheet.match_id === match?.id);
    if (mine) match.see(mine);
    choose();
    strip();
    redraw();
  } catch (error) {
    if (match === null) say(byId("matches-empty"), `The matches cannot be read: ${error.message}`);
  }
  setTimeout(poll, document.hidden ? POLL_MS * 3 : POLL_MS);
}

function chosenId() {
  const named = new URLSearchParams(location.hash.slice(1)).get("match");
  if (named) return named;
  // Once chosen it stays, also when a newer one begins.
  return match?.id ?? (sheets.findLast(isOn) ?? sheets.at(-1))?.match_id ?? null;
}

const isOn = (sheet) => sheet.status === "live" || sheet.status === "break";

function choose() {
  const id = chosenId();
  if (id === null || id === match?.id) return;
  match = new Match(id);
  const known = sheets.find((sheet) => sheet.match_id === id);
  if (known) match.see(known);
  since = Infinity;
  delays = [];
  skipped = 0;
  for (const view of [timeline, pitch, posts]) view.show(match);
  stream.follow(`match:${id}`);
  strip();
  redraw();
}

/** The list of matches, as links: the newest first. */
function strip() {
  byId("matches-empty").hidden = sheets.length > 0;
  const list = byId("matches");
  const shown = [...sheets].reverse().map((sheet) => (sheet.match_id === match?.id ? (match.sheet ?? sheet) : sheet));
  shown.sort((a, b) => isOn(b) - isOn(a));
  const key = JSON.stringify([match?.id, shown.map((s) => [s.match_id, s.status, s.minute, s.home, s.away])]);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const held = document.activeElement?.closest("#matches a")?.hash;
  const team = (side) => [el("span", { class: "team" }, side.name), el("b", {}, String(side.score))];
  const links = shown.map((sheet) => {
    const live = sheet.status === "live";
    const when = live ? (minuteOf(sheet.minute) || statusOf(sheet)) : sheet.status === "final" ? "FT" : statusOf(sheet);
    return el(
      "a",
      { href: `#match=${encodeURIComponent(sheet.match_id)}`, class: live ? "live" : "", "aria-current": sheet.match_id === match?.id ? "true" : null },
      el("span", { class: "when" }, when),
      ...team(sheet.home),
      ...team(sheet.away),
    );
  });
  list.replaceChildren(...links.map((link) => el("li", {}, link)));
  if (held) links.find((link) => link.hash === held)?.focus();
}

function line(direction, text) {
  drawer.line(direction, text);
}

function message(one) {
  switch (one.type) {
    case "connected":
      notice({ mode: one.mode, affected: [] });
      break;
    case "subscribed":
      since = clock.now();
      break;
    case "state":
      match.see(one.state);
      break;
    case "event":
      return event(one);
    case "skipped":
      skipped += one.count;
      break;
    case "reset": {
      const again = new Match(match.id);
      again.see(one.state);
      match = again;
      for (const view of [timeline, pitch, posts]) view.show(match);
      break;
    }
    case "notice":
      notice(one);
      break;
    case "error":
      say(byId("problem"), one.message);
      byId("problem").hidden = false;
      break;
  }
  drawer.message(one, true);
}

function event(one) {
  const { event } = one;
  const isNew = !match.has(event.event_id);
  const now = Date.parse(event.accepted_at) >= since;
  if (now) {
    delays.push(clock.now() - Date.parse(event.accepted_at));
    delays = delays.slice(-RECENT);
    fresh = true;
  }
  const changed = match.add(event);
  if (changed?.translations) posts.changed(changed);
  else if (changed) {
    timeline.changed(changed, now);
    if (now) announce(changed, event);
  }
  drawer.message(one, isNew);
}

function frame() {
  byId("problem").hidden ||= stream.phase === "live" && match.received > 0;
  redraw();
  drawer.draw();
}

/** Goals, cards and goals taken back, for those who listen. */
function announce(item, event) {
  const { type, player, team, minute } = event;
  const score = () => (match.sheet ? `${match.sheet.home.name} ${match.sheet.home.score}, ${match.sheet.away.name} ${match.sheet.away.score}` : "");
  let text = "";
  if (item.undone && event.of) text = `No goal: the goal of ${item.event.player ?? item.event.team} was taken back.`;
  else if (isGoal(type)) text = `${type === "own_goal" ? "Own goal" : "Goal"}! ${player ?? ""}, ${team ?? ""}, minute ${minute ?? ""}.`;
  else if (type.endsWith("red_card") || type === "second_yellow_card") text = `${player ?? ""} of ${team ?? ""} is sent off.`;
  if (!text) return;
  say(byId("announce"), text);
  // The score follows with the next state; it is added once it is there.
  setTimeout(() => say(byId("announce"), `${text} ${score()}`), 1500);
}

function notice({ mode, affected = [], since: from, reason }) {
  const shown = mode !== "normal";
  const node = byId("notice");
  node.hidden = !shown;
  node.dataset.mode = mode;
  if (!shown) return;
  const sentence = (text) => (text ? ` ${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.` : "");
  const parts = affected.length ? ` Affected: ${affected.join(", ")}.` : "";
  const when = from ? ` Since ${new Date(from).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}.` : "";
  say(node, `${NOTICES[mode] ?? mode}${sentence(reason)}${parts}${when}`);
}

function draw() {
  if (match === null) return;
  board.draw(match, fresh);
  fresh = false;
  pitch.draw();
  strip();
  chip();
  const { sheet } = match;
  document.title = sheet
    ? `${sheet.home.score}–${sheet.away.score} ${sheet.home.name} v ${sheet.away.name} · eventhub`
    : "eventhub";
  if (sheet) say(byId("title"), `${sheet.home.name} ${sheet.home.score}–${sheet.away.score} ${sheet.away.name}, ${statusOf(sheet)}`);
}

const seconds = (ms) => `${Math.max(0, Math.round(ms / 1000))} s`;

/** What the connection is like: live, reconnecting, source silent, delayed. */
function condition() {
  const { phase, reason, retryAt } = stream;
  if (phase === "stopped") return ["stopped", `Stopped: ${reason}`];
  if (phase === "away") return ["reconnecting", `Away, back in ${seconds(retryAt - Date.now())}`];
  if (phase === "waiting") return ["reconnecting", `Reconnecting in ${seconds(retryAt - Date.now())}`];
  if (phase !== "live") return ["reconnecting", stream.connections ? "Reconnecting" : "Connecting"];
  const quiet = match?.lastAcceptedAt ? clock.now() - match.lastAcceptedAt : 0;
  if (match?.sheet?.status === "live" && quiet > SILENT_MS) return ["silent", `Source silent ${seconds(quiet)}`];
  const delay = median();
  if (delay !== null && delay > DELAYED_MS) return ["delayed", `Delayed ${(delay / 1000).toFixed(1)} s`];
  return ["live", "Live"];
}

function median() {
  return delays.length ? [...delays].sort((a, b) => a - b)[delays.length >> 1] : null;
}

function chip() {
  const [state, text] = condition();
  const node = byId("chip");
  if (node.dataset.state !== state) say(byId("connection"), text);
  node.dataset.state = state;
  say(byId("chip-text"), text);
  const delay = median();
  const known = state === "live" && delay !== null;
  say(byId("chip-delay"), known ? `${Math.max(0, Math.round(delay))} ms` : "");
  say(byId("chip-skipped"), skipped ? `${skipped} skipped` : "");
  byId("again").hidden = state !== "stopped";
  document.body.dataset.events = match?.received ?? 0;
  document.body.dataset.duplicates = match?.duplicates ?? 0;
}

addEventListener("hashchange", choose);
byId("again").addEventListener("click", () => stream.again());
byId("skip").addEventListener("click", (click) => {
  // Not by the hash: that one names the match.
  click.preventDefault();
  byId("main").focus();
});
setInterval(chip, 1000);
poll();

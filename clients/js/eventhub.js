// Client of eventhub (subprotocol eventhub.v1+json): channels followed over any number of connections, each event once
// and in order. One module without imports, for browsers and for Node.js 22 and newer. Types: eventhub.d.ts.

export const SUBPROTOCOL = "eventhub.v1+json";
const OPEN_MS = 10_000;
const UNTOLD_PING_S = 15;
const SILENCE = 2.5; // so many heartbeats may be missed before a connection counts as dead
const STEADY_MS = 10_000; // a node that takes a client and loses it at once must not be asked ever faster
const REMEMBERED = 4096; // events of a channel that are known again; a resume is exact, so few are needed
const RENEW_AT = [0.75, 0.9]; // between these parts of its life a token is renewed
const SOONEST_MS = 500; // the same token may be given again and again
const RENEWAL_BACKOFF_MS = [2_000, 30_000];

export class ClientError extends Error {
  name = this.constructor.name;
}

/** A connection or an attempt failed, and the next one may succeed: told to `onRetry`, thrown by nothing. */
export class LostError extends ClientError {
  constructor(reason, { code = null, retryAfterMs = 0 } = {}) {
    super(reason);
    Object.assign(this, { code, retryAfterMs });
  }
}

/** The node closed for good, with a code from 3500 to 3999. */
export class ClosedError extends ClientError {
  constructor(code, reason) {
    super(`the node closed for good: ${code} ${reason}`.trimEnd());
    Object.assign(this, { code, reason });
  }
}

/** A channel was refused: for good where it is thrown, for `retryAfterMs` where it is told to `onRetry`. */
export class RefusedError extends ClientError {
  constructor(code, detail, channel, retryAfterMs = null) {
    super(`${channel}: ${detail} (${code})`);
    Object.assign(this, { code, detail, channel, retryAfterMs });
  }
}

/** Nothing was subscribed for `giveUpAfterMs`; the last failure is its cause. */
export class GaveUpError extends ClientError {}

const fullJitter = (attempt, [first, most]) => Math.random() * Math.min(most, first * 2 ** Math.min(attempt, 30));
const atLeast = (askedMs) => askedMs * (1 + Math.random() / 4); // everybody was asked for the same

/** Milliseconds until a token is to be renewed; null when it does not say when it ends. A wrong clock does no harm. */
function renewAfterMs(token, now) {
  let claims;
  try {
    claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
  const { exp, iat } = claims ?? {};
  const lives = [exp - now / 1000, exp - iat].filter((s) => s > 0);
  if (lives.length === 0) return null;
  const part = RENEW_AT[0] + Math.random() * (RENEW_AT[1] - RENEW_AT[0]);
  return Math.max(SOONEST_MS, Math.min(...lives) * 1000 * part);
}

/** One channel: its view, the cursor behind what was handed out last, and which events were. */
class Channel {
  asked = null; // the command of this connection that asked for it
  subscribed = false;
  retryAt = 0;
  #known = new Set();

  constructor(name, cursor, { from = null, ...wanted }) {
    const sorts = ["lanes", "types", "languages"].filter((sort) => wanted[sort]?.length);
    const view = JSON.stringify(Object.fromEntries(sorts.map((sort) => [sort, wanted[sort]])));
    Object.assign(this, { name, cursor, from, view });
  }

  wanted() {
    const place = this.cursor !== null ? { cursor: this.cursor } : this.from !== null ? { from: this.from } : {};
    return { channel: this.name, ...place };
  }

  isNew({ event_id, revision = 0 }) {
    if (event_id === undefined) return true;
    const key = `${event_id} ${revision}`;
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    if (this.#known.size > REMEMBERED) this.#known.delete(this.#known.values().next().value);
    return true;
  }

  /** After a reset what was handed out before no longer stands, and may rightly come again. */
  beginAgain() {
    this.#known.clear();
  }

  loseConnection() {
    Object.assign(this, { asked: null, subscribed: false, retryAt: 0 });
  }
}

/** One connection: lines in, commands out, its token kept fresh. `observe` sees both, without tokens. */
class Link {
  lines = [];
  subscribedAt = null; // when a channel was subscribed here, which makes a connection a good one
  complaint = ""; // what the node said last against the connection, which explains a close
  retryAfterMs = 0;
  leaving = false;
  greeted = false;
  pingS = UNTOLD_PING_S;
  #socket;
  #buffer;
  #observe;
  #ended = null;
  #deadline = null;
  #wake = () => {};
  #number = 0;
  #renewal = null; // { provider, attempt, timer, number }

  constructor(url, { WebSocket, buffer, observe }) {
    this.#buffer = buffer;
    this.#observe = observe;
    this.#socket = new WebSocket(url, SUBPROTOCOL);
    this.#socket.onopen = () => this.#wake();
    this.#socket.onmessage = ({ data }) => this.#hear(data);
    this.#socket.onclose = (event) => this.#end(this.#reasonOf(event));
  }

  async opened() {
    await this.#wait(OPEN_MS);
    if (this.#ended !== null) throw this.#ended;
    if (this.#socket.readyState !== 1) throw new LostError(`no connection within ${OPEN_MS / 1000} s`);
  }

  greet(token, provider) {
    this.greeted = true;
    this.send({ type: "connect", token });
    if (provider === null) return;
    this.#renewal = { provider, attempt: 0, timer: 0, number: null };
    this.#renewIn(renewAfterMs(token, Date.now()));
  }

  /** Send a command; returns its id. A connection that has ended says so to its reader, not here. */
  send(command) {
    const told = { id: ++this.#number, ...command };
    if (this.#socket.readyState === 1) {
      const shown = "token" in told ? { ...told, token: "…" } : told;
      this.#observe("out", shown, JSON.stringify(shown));
      this.#socket.send(JSON.stringify(told));
    }
    return told.id;
  }

  /** Resolves when there are lines, or when the time `until` has come. Throws what ended the connection. */
  async receive(until) {
    if (this.lines.length > 0) return;
    if (this.#ended !== null) throw this.#ended;
    this.#deadline ??= Date.now() + SILENCE * this.pingS * 1000;
    await this.#wait(Math.min(this.#deadline, until) - Date.now());
    if (this.#ended === null && this.#deadline !== null && Date.now() >= this.#deadline) {
      throw new LostError(`nothing was heard for ${SILENCE * this.pingS} s`);
    }
  }

  /** Whether the refused command was a refresh, which is then tried again with another token. */
  refused(id) {
    if (this.#renewal === null || this.#renewal.number === null || id !== this.#renewal.number) return false;
    this.#renewIn(fullJitter(++this.#renewal.attempt, RENEWAL_BACKOFF_MS));
    return true;
  }

  wake() {
    this.#wake();
  }

  leave() {
    clearTimeout(this.#renewal?.timer);
    this.#renewal = null;
    Object.assign(this.#socket, { onopen: null, onmessage: null, onclose: null });
    this.#socket.close(1000);
    this.#end(new LostError("it was left"));
  }

  #hear(data) {
    this.#deadline = null;
    for (const line of data.split("\n")) if (line) this.lines.push(line);
    if (this.lines.length > this.#buffer) {
      // A WebSocket cannot be told to wait. What is not taken here follows behind the cursor, and costs no memory.
      this.leave();
      this.#ended = new LostError(`more than ${this.#buffer} messages wait for the program`);
    }
    this.#wake();
  }

  #end(error) {
    this.#ended ??= error;
    this.#wake();
  }

  #reasonOf({ code, reason }) {
    const said = [reason, this.complaint].filter(Boolean).join(": ");
    if (code >= 3500 && code <= 3999) return new ClosedError(code, said);
    return new LostError(`closed with ${code} ${said}`.trimEnd(), { code, retryAfterMs: this.retryAfterMs });
  }

  #wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, Math.min(ms, 2 ** 31 - 1)));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #renewIn(ms) {
    clearTimeout(this.#renewal.timer);
    if (ms !== null) this.#renewal.timer = setTimeout(() => this.#renew(this.#renewal), ms);
  }

  async #renew(renewal) {
    let token;
    try {
      token = await renewal.provider();
    } catch {
      // The token that the connection came with still holds.
      if (renewal === this.#renewal) this.#renewIn(fullJitter(++renewal.attempt, RENEWAL_BACKOFF_MS));
      return;
    }
    if (renewal !== this.#renewal) return;
    renewal.attempt = 0;
    renewal.number = this.send({ type: "refresh", token });
    this.#renewIn(renewAfterMs(token, Date.now()));
  }
}

/** See eventhub.d.ts: subscribe, then iterate; it connects with the first step of the iteration. */
export class Client {
  #urls;
  #options;
  #channels = new Map();
  #link = null;
  #turn = 0;
  #attempt = 0;
  #notBefore = 0;
  #goodAt = null;
  #mode = "normal";
  #closed = false;
  #hurry = () => {};

  constructor(nodes, options) {
    const defaults = { backoffMs: [250, 20_000], giveUpAfterMs: null, buffer: 10_000, WebSocket: globalThis.WebSocket };
    const silent = { onRetry: () => {}, onStatus: () => {}, observe: () => {} };
    this.#urls = [nodes].flat().map(urlOf);
    this.#options = { ...defaults, ...silent, ...options };
  }

  /** By channel the cursor behind what was handed out last. */
  get cursors() {
    const seen = [...this.#channels.values()].filter((c) => c.cursor !== null);
    return Object.fromEntries(seen.map((c) => [c.name, c.cursor]));
  }

  subscribe(names, { cursors = {}, ...view } = {}) {
    for (const name of [names].flat()) {
      if (this.#channels.has(name)) throw new ClientError(`channel ${name} is subscribed already; unsubscribe first`);
      this.#channels.set(name, new Channel(name, cursors[name] ?? null, view));
    }
    this.#ask();
  }

  unsubscribe(names) {
    for (const name of [names].flat()) {
      const left = this.#channels.get(name);
      this.#channels.delete(name);
      if (left?.asked) this.#link?.send({ type: "unsubscribe", channel: name });
    }
  }

  /** Cut the connection and come back after `awayMs`; what was missed follows. */
  drop(awayMs = 0) {
    this.#forget();
    this.#notBefore = Date.now() + awayMs;
    this.#options.onStatus("waiting", this.#notBefore);
    this.#hurry();
  }

  /** Do not wait any longer for the next attempt. */
  retryNow() {
    this.#notBefore = 0;
    this.#hurry();
  }

  /** Leave; the iteration ends. */
  close() {
    this.#closed = true;
    this.#forget();
    this.#hurry();
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** The next message, however many connections it takes. One step at a time. */
  async next() {
    while (!this.#closed) {
      try {
        // What has come is handed out before more is fetched: so one cursor for each channel is enough.
        const message = this.#nextTaken();
        if (message !== null) return { value: message, done: false };
        await this.#fill();
      } catch (error) {
        if (error instanceof LostError) this.#lost(error);
        else {
          if (error instanceof ClosedError) this.#stop(error);
          throw error;
        }
      }
    }
    return { value: undefined, done: true };
  }

  #nextTaken() {
    const link = this.#link;
    while (this.#link === link && link?.lines.length > 0) {
      const message = this.#take(link.lines.shift(), link);
      if (message !== null) return message;
    }
    return null;
  }

  async #fill() {
    const link = this.#link;
    if (link === null) return this.#open();
    if (link.leaving) throw new LostError("the node asks to come back");
    this.#ask();
    const waiting = [...this.#channels.values()].filter((c) => c.asked === null);
    return link.receive(Math.min(...waiting.map((c) => c.retryAt)));
  }

  async #open() {
    this.#goodAt ??= Date.now();
    while (Date.now() < this.#notBefore && !this.#closed) await this.#sleep(this.#notBefore - Date.now());
    const { token: given, WebSocket, buffer, observe, onStatus } = this.#options;
    onStatus("connecting");
    const provider = typeof given === "string" ? null : given;
    const token = provider === null ? given : await tokenOf(provider);
    if (this.#closed || Date.now() < this.#notBefore) return;
    const link = new Link(this.#urls[this.#turn++ % this.#urls.length], { WebSocket, buffer, observe });
    this.#link = link;
    try {
      await link.opened();
    } catch (error) {
      if (this.#link === link) throw error;
      return; // the program has left it meanwhile
    }
    link.greet(token, provider);
    this.#ask();
  }

  /** Subscribe to what is not subscribed on this connection: one command for each view. */
  #ask() {
    if (!this.#link?.greeted) return;
    const due = [...this.#channels.values()].filter((c) => c.asked === null && c.retryAt <= Date.now());
    for (const view of new Set(due.map((c) => c.view))) {
      const channels = due.filter((c) => c.view === view);
      const wanted = channels.map((c) => c.wanted());
      const what = wanted.length === 1 ? wanted[0] : { channels: wanted };
      const id = this.#link.send({ type: "subscribe", ...what, ...JSON.parse(view) });
      for (const channel of channels) channel.asked = id;
    }
  }

  #take(line, link) {
    const understood = (work) => {
      try {
        return work();
      } catch (error) {
        if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
        throw new LostError(`a message cannot be understood (${error.message}): ${line.slice(0, 200)}`);
      }
    };
    const message = understood(() => JSON.parse(line));
    this.#options.observe("in", message, line);
    return understood(() => this.#handle(message, link));
  }

  /** What a message hands to the program; null when it is the client's own affair, or is known already. */
  #handle(message, link) {
    const { type, channel: name } = message;
    const channel = this.#channels.get(name);
    if (name !== undefined && channel === undefined) return null; // on its way when the program left the channel
    // What comes before the answer is that too: the program has come back since.
    if (channel?.subscribed === false && type !== "subscribed" && type !== "error") return null;
    switch (type) {
      case "event":
        channel.cursor = message.cursor;
        return channel.isNew(message.event) ? message : null;
      case "reset":
        channel.beginAgain();
        channel.cursor = message.cursor;
        return message;
      case "state":
        channel.cursor = message.cursor;
        return message;
      case "skipped": // it has cursors too, but what follows it lies between them: no place to resume from
        return message;
      case "notice":
        this.#mode = message.mode;
        return message;
      case "connected":
        return this.#connected(message, link);
      case "subscribed":
        channel.subscribed = true;
        link.subscribedAt ??= Date.now();
        break;
      case "reconnect":
        Object.assign(link, { leaving: true, retryAfterMs: message.in_ms });
        this.#saw(message.cursors);
        break;
      case "heartbeat":
        this.#saw(message.cursors);
        break;
      case "error":
        this.#refused(message, channel, link);
    }
    return null;
  }

  #connected({ ping_s, mode }, link) {
    if (ping_s > 0) link.pingS = ping_s;
    const missed = mode === "normal" && this.#mode !== "normal";
    this.#mode = mode;
    this.#options.onStatus("live");
    return missed ? { type: "notice", mode, affected: [], since: "", reason: "it ended meanwhile" } : null;
  }

  /** Everything up to these cursors was sent, which also moves where nothing happened. */
  #saw(cursors) {
    for (const [name, cursor] of Object.entries(cursors)) {
      const channel = this.#channels.get(name);
      if (channel?.subscribed) channel.cursor = cursor;
    }
  }

  #refused({ id, code, message, retry_after_ms: askedMs = null }, named, link) {
    if (link.refused(id)) return;
    const asked = [...this.#channels.values()].filter((c) => c.asked !== null && c.asked === id && !c.subscribed);
    const refused = named === undefined ? asked : [named];
    const names = refused.map((c) => c.name).join(", ");
    if (refused.length === 0) {
      // It is about the connection, and its close follows.
      Object.assign(link, { complaint: message, retryAfterMs: askedMs ?? link.retryAfterMs });
    } else if (askedMs === null) {
      for (const channel of refused) this.#channels.delete(channel.name);
      throw new RefusedError(code, message, names);
    } else {
      const waitMs = atLeast(askedMs);
      const again = { asked: null, subscribed: false, retryAt: Date.now() + waitMs };
      for (const channel of refused) Object.assign(channel, again);
      this.#told(new RefusedError(code, message, names, askedMs), waitMs);
    }
  }

  /** Prepare the next attempt. Throws GaveUpError, and what `onRetry` throws. */
  #lost(error) {
    const link = this.#link;
    if (link?.subscribedAt && Date.now() - link.subscribedAt >= STEADY_MS) this.#attempt = 0;
    let waitMs = Math.max(fullJitter(this.#attempt, this.#options.backoffMs), atLeast(error.retryAfterMs));
    if (link?.leaving) waitMs = link.retryAfterMs; // the node has spread its clients over these times itself
    this.#attempt += 1;
    this.#noteGood();
    this.#forget();
    this.#notBefore = Date.now() + waitMs;
    this.#options.onStatus("waiting", this.#notBefore, error);
    this.#told(error, waitMs);
  }

  #stop(error) {
    this.#forget();
    // Who iterates again all the same does not do it at once.
    this.#notBefore = Date.now() + fullJitter(this.#attempt++, this.#options.backoffMs);
    this.#options.onStatus("stopped", null, error);
  }

  #told(error, waitMs) {
    const { giveUpAfterMs, onRetry } = this.#options;
    this.#noteGood();
    if (giveUpAfterMs !== null && Date.now() - (this.#goodAt ?? Date.now()) > giveUpAfterMs) {
      this.#goodAt = null;
      const text = `${this.#urls[0]} gave no subscription for ${giveUpAfterMs} ms (last: ${error.message})`;
      throw new GaveUpError(`${text}; look whether the node runs, and iterate again to go on`, { cause: error });
    }
    onRetry(error, waitMs);
  }

  /** While anything is subscribed, it does not give up. */
  #noteGood() {
    if (this.#link?.subscribedAt) this.#goodAt = Date.now();
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => (clearTimeout(timer), resolve());
    });
  }

  /** Lines that were not handed out come again on the next connection: they are behind the cursors. */
  #forget() {
    const link = this.#link;
    this.#link = null;
    for (const channel of this.#channels.values()) channel.loseConnection();
    link?.leave();
  }
}

async function tokenOf(provider) {
  try {
    return await provider();
  } catch (error) {
    // Who gives tokens may be away for a moment, as a node may.
    throw new LostError(`no token: ${error.message}`);
  }
}

function urlOf(node) {
  const { protocol, origin, pathname } = new URL(node);
  if (!/^(https?|wss?):$/.test(protocol)) throw new ClientError(`${node} is no address such as http://localhost:8000`);
  return `${origin.replace(/^http/, "ws")}${pathname.replace(/\/$/, "")}/v1/stream`;
}

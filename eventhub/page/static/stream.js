// The stream's client: subprotocol eventhub.v1+json over one WebSocket, one channel followed at a time.
// It connects, resumes after its cursor, refreshes its token in-band and backs off with full jitter.

export const SUBPROTOCOL = "eventhub.v1+json";
const FIRST_MS = 250;
const LONGEST_MS = 10_000;
const REFRESH_EARLY_MS = 60_000;
const SAMPLES = 12;

/** The server's clock as seen from here: the least delayed of the last samples counts. */
export class Clock {
  #samples = [];

  /** `roundTripMs`: how long the answer that carried it took, there and back. */
  learn(serverTime, roundTripMs = 0) {
    const at = Date.parse(serverTime);
    if (Number.isNaN(at)) return;
    this.#samples.push(at + roundTripMs / 2 - Date.now());
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  now() {
    return Date.now() + (this.#samples.length ? Math.max(...this.#samples) : 0);
  }
}

/**
 * `getToken(stale)` resolves to {token, expires_at?}; the hooks are called in the order of arrival:
 * status(stream), line(direction, text), message(message), frame() after each frame.
 */
export class Stream {
  phase = "idle"; // idle | connecting | live | waiting | away | stopped
  reason = "";
  retryAt = 0;
  channel = null;
  cursor = null;
  connections = 0;
  #socket = null;
  #hooks;
  #getToken;
  #clock;
  #expiresAt = Infinity;
  #refreshing = false;
  #timer = 0;
  #watchdog = 0;
  #subscribeTimer = 0;
  #attempt = 0;
  #id = 0;
  #pingMs = 30_000;

  constructor({ getToken, clock, hooks }) {
    this.#getToken = getToken;
    this.#clock = clock;
    this.#hooks = hooks;
    addEventListener("online", () => this.phase === "waiting" && this.#open());
    // A tab that was asleep may have missed its timers.
    document.addEventListener("visibilitychange", () => document.hidden || this.#refreshSoon());
    setInterval(() => this.#refreshSoon(), 10_000);
  }

  /** Follow this channel from its start, instead of the one before. */
  follow(channel) {
    const before = this.channel;
    if (before === channel) return;
    this.channel = channel;
    this.cursor = null;
    clearTimeout(this.#subscribeTimer);
    if (this.phase === "live") {
      if (before !== null) this.#send({ id: ++this.#id, type: "unsubscribe", channel: before });
      this.#subscribe();
    } else if (this.phase === "idle") this.#open();
  }

  /** Cut the connection and stay away for a while; what was missed follows at the return. */
  drop(awayMs) {
    this.#leave();
    this.#set("away", "dropped by you");
    this.#later(awayMs);
  }

  /** Once more after a refusal. */
  again() {
    this.#attempt = 0;
    this.#open();
  }

  #set(phase, reason = "") {
    this.phase = phase;
    this.reason = reason;
    this.#hooks.status(this);
  }

  #later(ms) {
    clearTimeout(this.#timer);
    this.retryAt = Date.now() + ms;
    this.#timer = setTimeout(() => this.#open(), ms);
  }

  #backOff(reason) {
    const ms = Math.random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#later(ms);
    this.#set("waiting", reason);
  }

  #leave() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    clearTimeout(this.#subscribeTimer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket !== null) socket.close(1000);
  }

  async #open() {
    this.#leave();
    this.#set("connecting");
    let given;
    try {
      given = await this.#getToken(this.#attempt > 0);
    } catch (error) {
      return this.#backOff(error.message);
    }
    if (this.phase !== "connecting" || this.#socket !== null) return;
    this.#expiresAt = given.expires_at ? Date.parse(given.expires_at) : Infinity;
    const address = new URL("v1/stream", document.baseURI.replace(/^http/, "ws"));
    address.hash = "";
    const socket = new WebSocket(address, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#send({ id: ++this.#id, type: "connect", token: given.token });
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event);
    this.#watch();
  }

  #closed({ code, reason }) {
    this.#socket = null;
    clearTimeout(this.#watchdog);
    if (code >= 3500 && code <= 3999) this.#set("stopped", `${reason || "refused"} (${code})`);
    else if (this.phase !== "waiting" || Date.now() > this.retryAt) this.#backOff(reason || `closed (${code})`);
  }

  /** A connection that has been silent for longer than its heartbeats allow is dead. */
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#leave();
      this.#backOff("no heartbeat");
    }, this.#pingMs * 2.5);
  }

  #send(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const shown = command.token ? { ...command, token: "…" } : command;
    this.#hooks.line("out", JSON.stringify(shown));
    this.#socket.send(JSON.stringify(command));
  }

  #subscribe() {
    const place = this.cursor === null ? { from: "start" } : { cursor: this.cursor };
    this.#send({ id: ++this.#id, type: "subscribe", channel: this.channel, ...place });
  }

  #take(data) {
    this.#watch();
    for (const line of data.split("\n")) {
      this.#hooks.line("in", line);
      const message = JSON.parse(line);
      if (message.channel !== undefined && message.channel !== this.channel) continue;
      this.#handle(message);
      this.#hooks.message(message);
    }
    this.#hooks.frame();
  }

  #handle(message) {
    switch (message.type) {
      case "connected":
        this.#attempt = 0;
        this.#pingMs = message.ping_s * 1000;
        this.connections += 1;
        this.#set("live");
        if (this.channel !== null) this.#subscribe();
        break;
      case "subscribed":
      case "event":
      case "state":
      case "reset":
        this.cursor = message.cursor;
        break;
      case "heartbeat":
        this.#clock.learn(message.server_time);
        this.cursor = message.cursors[this.channel] ?? this.cursor;
        break;
      case "reconnect":
        this.cursor = message.cursors[this.channel] ?? this.cursor;
        this.#leave();
        this.#later(message.in_ms);
        this.#set("waiting", "asked to reconnect");
        break;
      case "refreshed":
        this.#expiresAt = Date.parse(message.expires_at);
        this.#refreshing = false;
        break;
      case "error":
        this.#refreshing = false;
        if (message.retry_after_ms && message.code !== "already_subscribed") {
          this.#subscribeTimer = setTimeout(() => this.#subscribe(), message.retry_after_ms);
        }
        break;
    }
  }

  async #refreshSoon() {
    if (this.phase !== "live" || this.#refreshing) return;
    if (this.#clock.now() < this.#expiresAt - REFRESH_EARLY_MS) return;
    this.#refreshing = true;
    try {
      const { token } = await this.#getToken(true);
      this.#send({ id: ++this.#id, type: "refresh", token });
    } catch {
      this.#refreshing = false; // The next tick tries again; the old token holds until its end.
    }
  }
}

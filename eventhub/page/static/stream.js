// The page's side of the stream: one channel followed at a time by the client that the node serves to everybody, and what
// the drawer and the chip show of it.

import { Client, ClosedError, RefusedError } from "../eventhub.js";

const SAMPLES = 12;
const HANDED_OUT = new Set(["event", "state", "reset", "skipped", "notice"]);

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
 * `getToken(stale)` resolves to {token}; the hooks are called in the order of arrival:
 * status(stream), line(direction, text), message(message), frame() after each message.
 */
export class Stream {
  phase = "idle"; // idle | connecting | live | waiting | away | stopped
  reason = "";
  retryAt = 0;
  channel = null;
  connections = 0;
  #client;
  #clock;
  #hooks;
  #asked = false;
  #again = () => {};

  constructor({ getToken, clock, hooks }) {
    this.#clock = clock;
    this.#hooks = hooks;
    const token = async () => {
      const stale = this.#asked;
      this.#asked = true;
      return (await getToken(stale)).token;
    };
    this.#client = new Client(new URL(".", document.baseURI).href, {
      token,
      backoffMs: [250, 10_000],
      onStatus: (phase, retryAt, error) => this.#set(phase, retryAt ?? 0, error),
      observe: (direction, message, text) => this.#observe(direction, message, text),
    });
    addEventListener("online", () => this.phase === "waiting" && this.#client.retryNow());
  }

  get cursor() {
    return this.#client.cursors[this.channel] ?? null;
  }

  /** Follow this channel from its start, instead of the one before. */
  follow(channel) {
    const before = this.channel;
    if (before === channel) return;
    if (before !== null) this.#client.unsubscribe(before);
    this.channel = channel;
    this.#client.subscribe(channel, { from: "start" });
    if (before === null) this.#run();
  }

  /** Cut the connection and stay away for a while; what was missed follows at the return. */
  drop(awayMs) {
    this.#client.drop(awayMs);
    this.#set("away", Date.now() + awayMs);
  }

  /** Once more after a refusal. */
  again() {
    this.#client.retryNow();
    this.#again();
  }

  async #run() {
    for (;;) {
      try {
        for await (const message of this.#client) this.#tell(message);
      } catch (error) {
        if (error instanceof ClosedError) await new Promise((resolve) => (this.#again = resolve));
        else if (!(error instanceof RefusedError)) reportError(error);
      }
    }
  }

  #set(phase, retryAt, error) {
    Object.assign(this, { phase, retryAt, reason: error?.message ?? "" });
    this.#hooks.status(this);
  }

  #tell(message) {
    this.#hooks.message(message);
    this.#hooks.frame();
  }

  #observe(direction, message, text) {
    this.#hooks.line(direction, text);
    if (direction === "out" || (message.channel !== undefined && message.channel !== this.channel)) return;
    if (message.type === "connected") this.connections += 1;
    if (message.type === "heartbeat") this.#clock.learn(message.server_time);
    if (!HANDED_OUT.has(message.type)) this.#tell(message);
  }
}

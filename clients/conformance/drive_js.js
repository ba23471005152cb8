// The driver of the JavaScript SDK: plays a client in each of the runs, all at once. In a browser a test calls `play`;
// Node.js is given the runs as its argument, and what a client is handed goes to stdout as `[run, message]`, one a line.

import { Client, ClosedError, RefusedError } from "../js/eventhub.js";

const BACKOFF_MS = [20, 200];

/** A token that ends after `lifeS`, as far as a client can see; what follows its claims is not looked at. */
function tokenOf(lifeS, number) {
  if (lifeS === null) return `token-${number}`;
  const now = Date.now() / 1000;
  const claims = btoa(JSON.stringify({ iat: now, exp: now + lifeS })).replaceAll("=", "");
  return `x.${claims}.${number}`;
}

async function follow(client, say) {
  for (;;) {
    try {
      for await (const message of client) {
        say(message);
        if (message.event?.event_id === "end") return;
      }
      return say({ type: "timeout" });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      say({ type: "refused", code: error.code, channel: error.channel });
    }
  }
}

async function drive(run, say) {
  let given = 0;
  const token = async () => tokenOf(run.life_s, ++given);
  const client = new Client(run.url, { token, backoffMs: BACKOFF_MS });
  const timer = setTimeout(() => client.close(), run.timeout_s * 1000);
  const cursors = Object.fromEntries(run.subscribe.filter((one) => one.cursor).map((one) => [one.channel, one.cursor]));
  const from = run.subscribe.some((one) => one.from) ? "start" : null;
  try {
    client.subscribe(run.subscribe.map((one) => one.channel), { cursors, from, ...run.view });
    await follow(client, say);
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error;
    say({ type: "closed", code: error.code });
  }
  clearTimeout(timer);
  client.close();
}

/** Plays all runs; resolves to everything that was handed out. */
export async function play(runs, tell = () => {}) {
  const said = [];
  const say = (run) => (message) => {
    said.push([run.run, message]);
    tell(said.at(-1));
  };
  await Promise.all(runs.map((run) => drive(run, say(run))));
  return said;
}

if (globalThis.process?.argv) await play(JSON.parse(process.argv[2]), (line) => console.log(JSON.stringify(line)));

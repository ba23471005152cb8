/** Client of eventhub: live sports events over WebSocket, each once and in order. */

export const SUBPROTOCOL: string;

/** A place in a channel; opaque: hand it back as it is. */
export type Cursor = string;

/** An event as it stands on the log. Fields that are not named here may be there, and more may come. */
export interface LogEvent {
  event_id: string;
  type: string;
  match_id: string;
  source: string;
  lane: "critical" | "normal" | "bulk";
  revision?: number;
  action?: "insert" | "update" | "delete";
  occurred_at: string;
  accepted_at: string;
  period?: string | null;
  clock_s?: number | null;
  minute?: string | null;
  team_id?: string | null;
  team?: string | null;
  player_id?: string | null;
  player?: string | null;
  of?: string;
  payload?: Record<string, unknown>;
  [more: string]: unknown;
}

export interface Side {
  id: string;
  name: string;
  score: number;
  [more: string]: unknown;
}

/** The sheet of a match. */
export interface MatchSheet {
  match_id: string;
  status: string;
  period: string | null;
  clock_s: number | null;
  minute: string | null;
  home: Side;
  away: Side;
  incidents: Array<{ event_id: string; type: string; minute: string | null; team_id: string | null; player: string | null }>;
  cursor: Cursor | null;
  stale: boolean;
  [more: string]: unknown;
}

/** One event, once and in the order of the log; `cursor` is the place behind it. */
export interface EventMessage {
  type: "event";
  channel: string;
  cursor: Cursor;
  event: LogEvent;
}

/** The sheet of a match as it stands at `cursor`: it holds every event up to there. */
export interface StateMessage {
  type: "state";
  channel: string;
  cursor: Cursor;
  state: MatchSheet;
}

/** What lies between the last message of this channel and this one cannot be had: begin again from `state`. */
export interface ResetMessage {
  type: "reset";
  channel: string;
  cursor: Cursor;
  reason: "gone" | "epoch_changed" | "ahead_of_log" | (string & {});
  state: MatchSheet;
}

/** You take less than there is: so many events of a lane are left out. Its cursors are no places to resume from. */
export interface SkippedMessage {
  type: "skipped";
  channel: string;
  lane: "normal" | "bulk";
  count: number;
  from: Cursor;
  to: Cursor;
}

/** How the platform is; the newest one counts. `since` is empty where the end of a mode was missed. */
export interface NoticeMessage {
  type: "notice";
  mode: "normal" | "degraded" | "read_only";
  affected: string[];
  since: string;
  reason: string;
}

export type Message = EventMessage | StateMessage | ResetMessage | SkippedMessage | NoticeMessage;

export class ClientError extends Error {}

/** A connection or an attempt failed, and the next one may succeed: told to `onRetry`, thrown by nothing. */
export class LostError extends ClientError {
  readonly code: number | null;
  readonly retryAfterMs: number;
}

/** The node closed for good, with a code from 3500 to 3999: do not come back before what it names is mended. */
export class ClosedError extends ClientError {
  readonly code: number;
  readonly reason: string;
}

/** A channel was refused. Switch on `code`, which never changes. Thrown once, where it is for good. */
export class RefusedError extends ClientError {
  readonly code: string;
  readonly detail: string;
  readonly channel: string;
  readonly retryAfterMs: number | null;
}

/** Nothing was subscribed for `giveUpAfterMs`; the last failure is its `cause`. */
export class GaveUpError extends ClientError {}

export interface Options {
  /** An access token, or who gives one that has just been made: for each connection, and before a token ends. */
  token: string | (() => Promise<string>);
  /** The first bound of the random waits between attempts, and the last; in milliseconds. Default 250 and 20,000. */
  backoffMs?: [first: number, most: number];
  /** Throw GaveUpError after so long without a subscription; null, the default: never. */
  giveUpAfterMs?: number | null;
  /** So many messages may wait for the program before it is left, and goes on behind its cursor. Default 10,000. */
  buffer?: number;
  /** The class of the sockets, where there is no global one. */
  WebSocket?: typeof globalThis.WebSocket;
  /** Called with each failure and the wait until the next attempt; what it throws ends the iteration. */
  onRetry?: (error: LostError | RefusedError, waitMs: number) => void;
  /** Called when the connection changes; `retryAt` (of Date.now()) where it waits, `error` where one is the reason. */
  onStatus?: (phase: "connecting" | "live" | "waiting" | "stopped", retryAt?: number | null, error?: ClientError) => void;
  /** Called with everything that is said and heard, without tokens, as a message and as its line: for showing, not for changing. */
  observe?: (direction: "in" | "out", message: Record<string, unknown>, text: string) => void;
}

export interface View {
  /** Go on behind these cursors, by channel. */
  cursors?: Record<string, Cursor>;
  /** Other channels from their start; without it with their state and what follows. */
  from?: "start" | null;
  /** Leave out all other lanes, and all other types. */
  lanes?: string[];
  types?: string[];
  /** Translations come in these languages only: `de`, `pt-BR`, `*`. */
  languages?: string[];
}

/**
 * Follows channels: subscribe, then iterate; it connects with the first step of the iteration.
 *
 * A connection that ends is replaced by itself, on the next of `nodes`; each channel goes on behind the last message
 * that was handed out. The iteration throws ClosedError, RefusedError for a channel, GaveUpError, and what `onRetry`
 * throws; iterating again goes on, also after a `break`; `close` ends it. One iteration at a time.
 */
export class Client implements AsyncIterableIterator<Message> {
  /** `nodes`: addresses such as `http://localhost:8000`. Throws ClientError or TypeError for what is none. */
  constructor(nodes: string | string[], options: Options);
  /** By channel the cursor behind what was handed out last: store it with what you made of the messages. */
  readonly cursors: Record<string, Cursor>;
  /** Follow channels such as `match:ID`; several at once count as one change. Throws ClientError for one twice. */
  subscribe(names: string | string[], view?: View): void;
  /** Leave channels; nothing of them is handed out any more. */
  unsubscribe(names: string | string[]): void;
  /** Cut the connection and come back after `awayMs`; what was missed follows. */
  drop(awayMs?: number): void;
  /** Do not wait any longer for the next attempt. */
  retryNow(): void;
  /** Leave for good; the iteration ends. */
  close(): void;
  next(): Promise<IteratorResult<Message, undefined>>;
  [Symbol.asyncIterator](): this;
}

"""The words that scenarios are written in: what the node says, when it waits, and how it breaks."""

from typing import Any, NamedTuple

Json = dict[str, Any]
MATCH = "match:m"
END = "end"
"""The id of the event with which a driver stops."""


class Frame(NamedTuple):
    """Messages in one frame, one a line."""

    messages: tuple[Json, ...]


class Half(NamedTuple):
    """The first half of a frame's bytes, then nothing: the connection is cut in it."""

    messages: tuple[Json, ...]


class Close(NamedTuple):
    """A close with a code."""

    code: int
    reason: str


class Heard(NamedTuple):
    """Wait for a command of this type; what is sent next with the id `ANSWER` answers it."""

    type: str


class Left(NamedTuple):
    """Say nothing more, and wait until the client leaves."""


class Cut(NamedTuple):
    """Cut the connection without a word."""


Step = Frame | Half | Close | Heard | Left | Cut
ANSWER = "the command that was heard last"


class Connection(NamedTuple):
    """What happens on one connection, after `connected` and the first subscribe."""

    steps: tuple[Step, ...]
    ping_s: float = 5.0
    mode: str = "normal"


def connection(*steps: Step, ping_s: float = 5.0, mode: str = "normal") -> Connection:
    return Connection(steps, ping_s, mode)


def frame(*messages: Json) -> Frame:
    return Frame(messages)


def half(*messages: Json) -> Half:
    return Half(messages)


def cursor(place: int) -> str:
    return f"e.0.{place}"


def subscribed(place: int = 0, channel: str = MATCH, *, recovered: bool = True) -> Json:
    view = {"lanes": None, "types": None}
    told = {"channel": channel, "cursor": cursor(place), "recovered": recovered, "view": view}
    return {"id": ANSWER, "type": "subscribed", **told}


def event(place: int, event_id: str, channel: str = MATCH, **more: Any) -> Json:
    inner = {"event_id": event_id, "type": "pass", "lane": "normal", **more}
    return {"type": "event", "channel": channel, "cursor": cursor(place), "event": inner}


def end(place: int = 99, channel: str = MATCH) -> Json:
    """The last event of a scenario."""
    return event(place, END, channel)


def state(place: int, channel: str = MATCH) -> Json:
    return {"type": "state", "channel": channel, "cursor": cursor(place), "state": {"match_id": "m"}}


def reset(place: int, reason: str) -> Json:
    told = {"cursor": cursor(place), "reason": reason, "state": {"match_id": "m"}}
    return {"type": "reset", "channel": MATCH, **told}


def skipped(first: int, last: int, count: int) -> Json:
    places = {"from": cursor(first), "to": cursor(last)}
    return {"type": "skipped", "channel": MATCH, "lane": "bulk", "count": count, **places}


def notice(mode: str) -> Json:
    return {"type": "notice", "mode": mode, "affected": ["history"], "since": "2026-05-30T19:12:07Z", "reason": "away"}


def heartbeat(**cursors: str) -> Json:
    named = {f"match:{name}": place for name, place in cursors.items()}
    return {"type": "heartbeat", "server_time": "2026-05-30T19:12:07Z", "cursors": named}


def reconnect(in_ms: int, place: int) -> Json:
    return {"type": "reconnect", "in_ms": in_ms, "cursors": {MATCH: cursor(place)}}


def error(code: str, channel: str | None = None, retry_after_ms: int | None = None, answers: Any = ANSWER) -> Json:
    told: Json = {"id": answers, "type": "error", "code": code, "message": f"it is {code}"}
    if channel is not None:
        told["channel"] = channel
    if retry_after_ms is not None:
        told["retry_after_ms"] = retry_after_ms
    return told

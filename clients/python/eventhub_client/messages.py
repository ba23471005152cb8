"""The messages that a client is given. Each has the parsed JSON as `raw` and the line as it came as `text`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a channel, once and in the order of the log. `cursor` is the place behind it."""

    channel: str
    cursor: str
    event: Json
    raw: Json = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)

    @property
    def event_id(self) -> str:
        """The event's id, the same everywhere and for ever; empty where there is none."""
        return str(self.event.get("event_id", ""))

    @property
    def type(self) -> str:
        """The event's type, such as `goal`."""
        return str(self.event.get("type", ""))


@dataclass(frozen=True, slots=True)
class State:
    """The sheet of a match as it stands at `cursor`: it holds every event up to there."""

    channel: str
    cursor: str
    state: Json
    raw: Json = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reset:
    """What lies between the last message of this channel and this one cannot be had: begin again from `state`.

    `reason` is `gone`, `epoch_changed` or `ahead_of_log`.
    """

    channel: str
    cursor: str
    reason: str
    state: Json
    raw: Json = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Skipped:
    """This client takes less than there is: `count` events of a lane are left out, from `first` to `last`.

    Both are cursors, but not places to resume from: what lies between them and is not left out follows.
    """

    channel: str
    lane: str
    count: int
    first: str
    last: str
    raw: Json = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """How the platform is: `mode` is `normal`, `degraded` or `read_only`. The newest one counts.

    `since` is RFC 3339; it is empty where the end of a mode was missed and is known from the next connection.
    """

    mode: str
    affected: tuple[str, ...]
    since: str
    reason: str
    raw: Json = field(repr=False, compare=False)
    text: str = field(repr=False, compare=False)


Message = Event | State | Reset | Skipped | Notice


def event(raw: Json, text: str) -> Event:
    """The event that a line holds. Raises KeyError when it has no cursor."""
    return Event(raw["channel"], raw["cursor"], raw["event"], raw, text)


def other(raw: Json, text: str) -> Message | None:
    """What a line holds that is no event; None for what a client is not given. Raises KeyError for missing fields."""
    match raw["type"]:
        case "state":
            return State(raw["channel"], raw["cursor"], raw["state"], raw, text)
        case "reset":
            return Reset(raw["channel"], raw["cursor"], raw["reason"], raw["state"], raw, text)
        case "skipped":
            return Skipped(raw["channel"], raw["lane"], raw["count"], raw["from"], raw["to"], raw, text)
        case "notice":
            return Notice(raw["mode"], tuple(raw["affected"]), raw["since"], raw["reason"], raw, text)
    return None


def normal_again() -> Notice:
    """The notice that was missed, made from what the next connection says."""
    raw: Json = {"type": "notice", "mode": "normal", "affected": [], "since": "", "reason": "it ended meanwhile"}
    return Notice("normal", (), "", raw["reason"], raw, json.dumps(raw))


def identity(found: Mapping[str, Any]) -> tuple[str, Any] | None:
    """What makes two events the same: id and revision. None for one without an id."""
    event_id = found.get("event_id")
    return None if event_id is None else (event_id, found.get("revision", 0))

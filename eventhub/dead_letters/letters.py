"""A letter and how records of `dlq-events` fold to letters. Pure.

An end closes the tries that its writer knew and no later one, because a record that was sent again may be dead again
before its end is written. A copy that comes behind an end opens the letter again.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec

from eventhub import record, topics
from eventhub.errors import NotFoundError
from eventhub.record import Headers

State = Literal["open", "replayed", "discarded"]
ENDS = ("replayed", "discarded")
OWN = ("stage", "code", "detail", "attempts", "key")
"""What the failing step says, before the headers of the raw record."""


class Origin(NamedTuple):
    """Where a dead record was read from."""

    topic: str
    partition: int
    offset: int


class Letter(msgspec.Struct, kw_only=True):
    """One dead record with all its tries. Times are of Kafka; `partition` and `offset` are its newest copy's place on
    `dlq-events`; `written` counts its copies there."""

    key: str
    state: State
    stage: str
    code: str
    detail: str
    attempts: int
    written: int
    match_id: str | None
    event_id: str | None
    accepted_at: datetime | None
    first_at: datetime
    last_at: datetime
    origins: list[str]
    size_bytes: int
    partition: int
    offset: int
    ended_by: str | None = None
    ended_at: str | None = None
    reason: str | None = None


class Wanted(NamedTuple):
    """Which letters; None does not ask."""

    state: State | None = "open"
    code: str | None = None
    stage: str | None = None
    match_id: str | None = None
    since: datetime | None = None

    def takes(self, letter: Letter) -> bool:
        """True when the letter is everything that is asked."""
        pairs = (
            (self.state, letter.state),
            (self.code, letter.code),
            (self.stage, letter.stage),
            (self.match_id, letter.match_id),
        )
        asked = all(want is None or want == has for want, has in pairs)
        return asked and (self.since is None or letter.last_at >= self.since)


class Depth(NamedTuple):
    """How much is open: letters, the age of the oldest since its first try, and letters by code."""

    open: int
    oldest_age_s: float | None
    by_code: dict[str, int]


class _Known(msgspec.Struct):
    """What a raw value tells about itself, where it can be read at all."""

    event_id: str | None = None
    match_id: str | None = None
    accepted_at: datetime | None = None


class Fold:
    """Records of `dlq-events`, each partition in offset order, folded to letters. Pure."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}

    def take(self, consumed: Any) -> None:
        """Fold one consumed record; one that says nothing of itself is still a letter."""
        if consumed.headers and consumed.headers[0][0] == "state":
            self._end(consumed)
        else:
            self._add(consumed)

    def _add(self, consumed: Any) -> None:
        own, raw = split(consumed.headers)
        name, attempts, origin = _identity(consumed, own, raw)
        at = _time(consumed.timestamp)
        before = self.letters.get(name)
        known = _known(consumed.value, raw)
        origins = [] if before is None else [o for o in before.origins if o != origin]
        self.letters[name] = Letter(
            key=name,
            state="open",
            stage=own.get("stage", "unknown"),
            code=own.get("code", "unknown"),
            detail=own.get("detail", ""),
            attempts=attempts if before is None else max(attempts, before.attempts),
            written=1 if before is None else before.written + 1,
            match_id=known.match_id,
            event_id=known.event_id,
            accepted_at=known.accepted_at,
            first_at=at if before is None else before.first_at,
            last_at=at,
            origins=[*origins, origin],
            size_bytes=len(consumed.value or b""),
            partition=consumed.partition,
            offset=consumed.offset,
        )

    def _end(self, consumed: Any) -> None:
        letter = self.letters.get(_text(consumed.key))
        said = _closing(consumed, letter.attempts) if letter is not None else None
        if letter is not None and said is not None:
            letter.state = "replayed" if said["state"] == "replayed" else "discarded"
            letter.ended_by, letter.ended_at, letter.reason = said.get("by"), said.get("at"), said.get("reason")


class _Place(NamedTuple):
    code: str
    first_ms: int
    attempts: int
    open: bool


class Standing:
    """Records of `dlq-events` folded to what a node must know of them all the time: their number and age. Pure.

    Says what `depth` says of the letters of a `Fold`, in a tenth of the memory.
    """

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}

    def take(self, consumed: Any) -> None:
        """Fold one consumed record; each partition in offset order."""
        if consumed.headers and consumed.headers[0][0] == "state":
            key = _text(consumed.key)
            place = self._places.get(key)
            if place is not None and _closing(consumed, place.attempts) is not None:
                self._places[key] = place._replace(open=False)
            return
        own, raw = split(consumed.headers)
        key, attempts, _ = _identity(consumed, own, raw)
        before = self._places.get(key, _Place("", consumed.timestamp, 0, open=True))
        code = sys.intern(own.get("code", "unknown"))
        self._places[key] = _Place(code, before.first_ms, max(attempts, before.attempts), open=True)

    def depth(self, now: datetime) -> Depth:
        """How many are open, and for how long the oldest has been."""
        still = [place for place in self._places.values() if place.open]
        oldest_ms = min((place.first_ms for place in still), default=None)
        age_s = None if oldest_ms is None else max(0.0, (now - _time(oldest_ms)).total_seconds())
        return Depth(len(still), age_s, dict(Counter(place.code for place in still).most_common()))


def select(letters: Iterable[Letter], wanted: Wanted) -> list[Letter]:
    """The letters that are wanted, newest first."""
    return sorted(filter(wanted.takes, letters), key=lambda one: (one.last_at, one.key), reverse=True)


def find(letters: Iterable[Letter], keys: Sequence[str]) -> list[Letter]:
    """The letters of these keys, in any state; the key of a later try finds its letter too. Raises NotFoundError."""
    by_key = {key: one for one in letters for key in (*one.origins, one.key)}
    missing = [key for key in keys if key not in by_key]
    if missing:
        raise NotFoundError(f"no dead letter has the key {missing[0]!r}; `eventhub dlq list --state all` shows them")
    return list({by_key[key].key: by_key[key] for key in keys}.values())


def depth(letters: Iterable[Letter], now: datetime) -> Depth:
    """How many letters are open, and for how long the oldest has been."""
    still = [one for one in letters if one.state == "open"]
    oldest = min((one.first_at for one in still), default=None)
    age_s = None if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Depth(len(still), age_s, dict(Counter(one.code for one in still).most_common()))


def split(headers: Headers) -> tuple[dict[str, str], Headers]:
    """What the failing step says, and the raw record's own headers.

    Those begin where a name is not ours, or comes again.
    """
    own: dict[str, str] = {}
    for index, (name, said) in enumerate(headers):
        if name not in OWN or name in own:
            return own, headers[index:]
        own[name] = said.decode(errors="replace")
    return own, ()


def origin(key: str) -> Origin | None:
    """The origin that a letter's key names; None when it names none."""
    topic, _, rest = key.partition(".")
    partition, _, offset = rest.partition(".")
    if topic not in topics.TOPICS or not (partition.isdecimal() and offset.isdecimal()):
        return None
    return Origin(topic, int(partition), int(offset))


def _identity(consumed: Any, own: dict[str, str], raw: Headers) -> tuple[str, int, str]:
    """The letter's key (its first origin's), the number of this try, and this try's own origin."""
    key = _text(consumed.key) or f"{topics.DEAD}.{consumed.partition}.{consumed.offset}"
    retry = dict(raw)
    first = retry.get("of", b"").decode(errors="replace")
    if origin(first) is None:
        return key, _number(own.get("attempts"), 1), key
    return first, _number(_text(retry.get("attempts")), 2), key


def _closing(consumed: Any, attempts: int) -> dict[str, str] | None:
    """What an end says, where it closes a letter of so many attempts; None where it does not."""
    said = {name: value.decode(errors="replace") for name, value in consumed.headers}
    closes = said["state"] in ENDS and attempts <= _number(said.get("attempts"), attempts)
    return said if closes else None


def _known(body: bytes | None, raw: Headers) -> _Known:
    try:
        known = msgspec.json.decode(body or b"", type=_Known)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        known = _Known()
    if known.accepted_at is not None and known.accepted_at.tzinfo is None:
        known.accepted_at = None
    if known.event_id is None:
        packed = record.head(raw)[:16]
        known.event_id = str(UUID(bytes=packed)) if len(packed) == 16 and any(packed) else None
    return known


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace")


def _number(said: str | None, otherwise: int) -> int:
    return int(said) if said and said.isdecimal() else otherwise


def _time(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)

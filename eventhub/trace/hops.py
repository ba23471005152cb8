"""What was found of an event, told as hops in the order of their times. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

import msgspec

from eventhub import record, topics
from eventhub.errors import UnavailableError

Kind = Literal["accepted", "duplicate", "replayed", "dead", "log", "history", "state", "revision", "translation"]
HISTORY = "postgres"
LAST = datetime.max.replace(tzinfo=UTC)


class Buried(Protocol):
    """What this needs of a dead letter."""

    key: str
    code: str
    state: Any
    attempts: int
    event_id: str | None
    match_id: str | None
    accepted_at: datetime | None
    last_at: datetime
    origins: list[str]


class Stored(NamedTuple):
    """The event's row in history."""

    match_id: str
    epoch: str
    partition: int
    offset: int
    accepted_at: datetime | None


class Found(NamedTuple):
    """The event's record on the log, and the records there that followed from it."""

    record: Any
    related: Sequence[Any]


class Evidence(NamedTuple):
    """All that was found; `history` is also why it could not be asked. Raw records are in the order of their times."""

    event_id: UUID
    raw: Sequence[Any]
    found: Found | None
    letters: Sequence[Buried]
    history: Stored | UnavailableError | None
    epoch: str


class Hop(msgspec.Struct, kw_only=True):
    """One place. `step_ms` is since the hop that led here, `total_ms` since the event was accepted.

    The time of acceptance is of the ingest node's clock, all others are of the broker's.
    """

    hop: Kind
    place: str
    partition: int | None = None
    offset: int | None = None
    at: datetime | None = None
    step_ms: float | None = None
    total_ms: float | None = None
    note: str = ""


class Trace(msgspec.Struct, kw_only=True):
    """All that is known of an event. `stored` is None when history could not be asked."""

    event_id: str
    match_id: str | None
    type: str | None
    source: str | None
    accepted_at: datetime | None
    verdict: str
    stored: bool | None
    duplicates: int
    hops: list[Hop]


class Said(msgspec.Struct):
    """What an event tells about itself, on a raw topic as on the log."""

    event_id: str | None = None
    match_id: str | None = None
    type: str | None = None
    source: str | None = None
    accepted_at: datetime | None = None
    of: str | None = None
    revision: int = 0


def said(body: bytes | None) -> Said:
    """What can be read of a value; nothing where it is no event."""
    try:
        read = msgspec.json.decode(body or b"", type=Said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Said()
    if read.accepted_at is not None and read.accepted_at.tzinfo is None:
        read.accepted_at = None
    return read


def told(evidence: Evidence) -> Trace:
    """The evidence as a trace; there must be some."""
    raw, found, letters = evidence.raw, evidence.found, evidence.letters
    event = said(found.record.value) if found else said(raw[0].value) if raw else Said()
    row = evidence.history if isinstance(evidence.history, Stored) else None
    accepted_at = accepted(evidence.found, row, letters) or event.accepted_at
    match_ids = (event.match_id, row.match_id if row else None, *(one.match_id for one in letters))
    hops = [*_raw(evidence, accepted_at), *map(_letter, letters), *_log(evidence, accepted_at)]
    hops.sort(key=lambda hop: hop.at or LAST)
    stored, note = _history(evidence)
    where = Hop(hop="history", place=HISTORY, note=note)
    if row:
        where.partition, where.offset = row.partition, row.offset
    return Trace(
        event_id=str(evidence.event_id),
        match_id=next((one for one in match_ids if one), None),
        type=event.type,
        source=event.source,
        accepted_at=accepted_at,
        verdict=_verdict(evidence, stored),
        stored=stored,
        duplicates=sum(hop.hop == "duplicate" for hop in hops),
        hops=[*hops, where],
    )


def accepted(found: Found | None, row: Stored | None, letters: Sequence[Buried]) -> datetime | None:
    """When the event was accepted, from whoever knows."""
    known = [said(found.record.value).accepted_at if found else None, row.accepted_at if row else None]
    return next((at for at in (*known, *(one.accepted_at for one in letters)) if at is not None), None)


def _raw(evidence: Evidence, accepted_at: datetime | None) -> list[Hop]:
    """The first is what ingest accepted; of the others a replay says so, a dead one was accepted with other bytes."""
    buried = {key: one for one in evidence.letters for key in one.origins}
    hops = []
    for number, one in enumerate(evidence.raw):
        dead = buried.get(f"{one.topic}.{one.partition}.{one.offset}")
        again = any(name == "of" for name, _ in one.headers)
        kind: Kind = "replayed" if again else "accepted" if number == 0 or dead else "duplicate"
        note = ", ".join(filter(None, (said(one.value).source, f"dead: {dead.code}" if dead else None)))
        hops.append(_hop(kind, one, accepted_at if kind == "accepted" else None, accepted_at, note))
    return hops


def _letter(letter: Buried) -> Hop:
    note = f"{letter.code}, {letter.state}, tries {letter.attempts}, key {letter.key}"
    return Hop(hop="dead", place=topics.DEAD, at=letter.last_at, note=note)


def _log(evidence: Evidence, accepted_at: datetime | None) -> list[Hop]:
    if evidence.found is None:
        return []
    own, related = evidence.found
    vector = record.unpack_vector(record.head(own.headers))
    topic, upto = topics.RAW[vector.source], vector.applied[vector.source]
    buried = {key for one in evidence.letters for key in one.origins}
    # The first copy that is not dead is the one that came through; what follows it was dropped.
    came = [one for one in evidence.raw if f"{one.topic}.{one.partition}.{one.offset}" not in buried]
    since = time(came[0].timestamp) if came and came[0].offset <= upto else None
    hops = [_hop("log", own, since, accepted_at, f"from {topic}, applied to {upto}")]
    at = time(own.timestamp)
    return hops + [_hop(_kind(one), one, at, accepted_at, _names(one)) for one in related]


def _kind(one: Any) -> Kind:
    kind = said(one.value).type
    return "state" if kind == "state" else "translation" if kind == "translation" else "revision"


def _names(one: Any) -> str:
    event = said(one.value)
    return f"{event.event_id}" + (f", revision {event.revision}" if event.revision else "")


def _hop(kind: Kind, one: Any, since: datetime | None, accepted_at: datetime | None, note: str) -> Hop:
    at = time(one.timestamp)
    return Hop(
        hop=kind,
        place=one.topic,
        partition=one.partition,
        offset=one.offset,
        at=at,
        step_ms=_ms(at, since),
        total_ms=_ms(at, accepted_at),
        note=note,
    )


def _history(evidence: Evidence) -> tuple[bool | None, str]:
    if isinstance(evidence.history, UnavailableError):
        return None, f"not known: {evidence.history.detail}"
    if evidence.history is None:
        return False, "not there" if evidence.found is None else "not yet"
    if evidence.history.epoch != evidence.epoch:
        return True, f"stored, from an earlier log ({evidence.history.epoch})"
    return True, "stored"


def _verdict(evidence: Evidence, stored: bool | None) -> str:
    if evidence.found is not None:
        return {True: "on the log and in history", False: "on the log, not in history yet", None: "on the log"}[stored]
    if stored:
        return "in history; the log no longer has it"
    alive = [one for one in evidence.letters if one.state == "open"]
    if alive:
        return f"dead: {alive[-1].code}"
    if any(one.state == "discarded" for one in evidence.letters):
        return "dead and discarded"
    return "accepted, not on the log yet"


def _ms(at: datetime, since: datetime | None) -> float | None:
    return None if since is None else round((at - since).total_seconds() * 1000, 3)


def time(timestamp_ms: int) -> datetime:
    """A record's time."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)

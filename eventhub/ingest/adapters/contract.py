"""The contract of an adapter, as a function that any provider's own tests call. Pure; needs no node.

What it holds an adapter to is what the platform relies on: the same record is the same event on every node, an event
passes ingest as it is, and whatever a source sends ends in an event or in a refusal that says where and why.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from eventhub import topics
from eventhub.errors import ITEM_CODES, RejectedError
from eventhub.events import PERIODS, TYPES, Incoming, Match
from eventhub.ingest.adapters import Adapter

DEPTH_MAX = 16
NO_RECORDS = (b"", b"{", b"null", b"7", b'"text"', b"[]", b"{}", b'{"id":NaN}', b"\xff\xfe", b"[" * 100_000)
NO_VALUES = (
    b"null",
    b"true",
    b"-1",
    b"1e300",
    b'""',
    b'"\\u0000"',
    b"[]",
    b"{}",
    b"[{}]",
    b"9" * 400,
    b'"' + b"x" * 5000 + b'"',
)


class BrokenContractError(AssertionError):
    """The adapter does something that the platform cannot take; says with which record."""


def check(adapter: Adapter, records: Sequence[bytes], match: Match) -> list[Incoming]:
    """Hold an adapter to its contract with records that it must accept; returns their events, in order.

    Good records are at least one of every kind that the provider sends. Broken ones are made from them here. Raises
    BrokenContractError naming the record.
    """
    if not records:
        raise BrokenContractError("no records were given; the contract is checked with real ones")
    if adapter.source not in topics.SOURCE_TOPIC:
        raise BrokenContractError(f"source {adapter.source!r} is none of {', '.join(topics.SOURCE_TOPIC)}")
    events = []
    for number, record in enumerate(records):
        told = outcome(adapter, record, match)
        if isinstance(told, RejectedError):
            raise BrokenContractError(f"record {number} is refused: {told.name} at {told.pointer}: {told.detail}")
        _passes_ingest(f"record {number}", told, adapter, match)
        events.append(told)
    _is_a_function(adapter, records, match, events)
    _ids_are_distinct(records, events)
    for record in (*NO_RECORDS, *(broken for good in records for broken in _broken(good))):
        outcome(adapter, record, match)
    return events


def outcome(adapter: Adapter, record: bytes, match: Match) -> Incoming | RejectedError:
    """What an adapter makes of any bytes. Raises BrokenContractError when it is neither a sound event nor a refusal."""
    try:
        event = adapter.map(record, match)
    except RejectedError as error:
        if error.name not in ITEM_CODES:
            raise BrokenContractError(
                f"{_short(record)} is refused with the code {error.name!r}; codes are {', '.join(ITEM_CODES)}"
            ) from error
        if error.pointer is None or (error.pointer and not error.pointer.startswith("/")):
            raise BrokenContractError(
                f"{_short(record)} is refused with the pointer {error.pointer!r}; a JSON pointer is needed, or ''"
            ) from error
        return error
    except Exception as error:
        raise BrokenContractError(f"{_short(record)} raises {error!r}; RejectedError is needed") from error
    _is_sound(_short(record), event)
    return event


def _is_sound(place: str, event: Incoming) -> None:
    """Ingest does not check again what an adapter made, so it must be what a source could have sent."""
    try:
        back = msgspec.json.decode(msgspec.json.encode(event), type=Incoming)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BrokenContractError(f"{place}: the event is not a canonical one: {error}") from error
    _check_value(place, event.payload, 0)
    if back != event:
        raise BrokenContractError(f"{place}: the event is another one after a way through JSON: {back} is not {event}")


def _passes_ingest(place: str, event: Incoming, adapter: Adapter, match: Match) -> None:
    kind = TYPES.get(event.type)
    if kind is None or adapter.source not in kind.sources:
        raise BrokenContractError(f"{place}: type {event.type!r} does not come from {adapter.source}")
    if event.match_id != match.match_id:
        raise BrokenContractError(f"{place}: match_id {event.match_id!r} is not the declared {match.match_id!r}")
    if event.team_id is not None and match.team(event.team_id) is None:
        raise BrokenContractError(f"{place}: team {event.team_id!r} does not play in the match")
    if event.period is not None and event.period not in PERIODS:
        raise BrokenContractError(f"{place}: period {event.period!r} is none of {', '.join(PERIODS)}")


def _is_a_function(adapter: Adapter, records: Sequence[bytes], match: Match, events: Sequence[Incoming]) -> None:
    """Other order, other instance, same events; a clock, a counter or a memory shows here."""
    other = type(adapter)()
    again = [other.map(record, match) for record in reversed(records)]
    for number, (first, second) in enumerate(zip(events, reversed(again), strict=True)):
        if first != second:
            raise BrokenContractError(f"record {number} maps to another event the next time: {first}, then {second}")


def _ids_are_distinct(records: Sequence[bytes], events: Sequence[Incoming]) -> None:
    seen: dict[tuple[str, int], int] = {}
    for number, event in enumerate(events):
        if event.source_event_id is None:
            continue
        other = seen.setdefault((event.source_event_id, event.revision), number)
        if records[other] != records[number]:
            raise BrokenContractError(f"records {other} and {number} have one id, {event.source_event_id!r}")


def _broken(record: bytes) -> Iterator[bytes]:
    """The record cut short, and each value inside it missing or of another type; of a list, the first two."""
    yield record[: len(record) // 2]
    yield from _changed(record)


def _changed(value: bytes) -> Iterator[bytes]:
    inner = _inner(value)
    parts = list(inner.items())[:2] if value[:1] == b"[" else list(inner.items())
    for name, part in parts:
        yield _joined(value, {key: kept for key, kept in inner.items() if key != name})
        for other in (*NO_VALUES, *_changed(part)):
            yield _joined(value, inner | {name: other})


def _inner(value: bytes) -> dict[str, bytes]:
    """The values of an object by name, or of a list by index."""
    try:
        if value[:1] == b"[":
            return {str(n): bytes(raw) for n, raw in enumerate(msgspec.json.decode(value, type=list[msgspec.Raw]))}
        return {name: bytes(raw) for name, raw in msgspec.json.decode(value, type=dict[str, msgspec.Raw]).items()}
    except msgspec.MsgspecError:
        return {}


def _joined(whole: bytes, parts: Mapping[str, bytes]) -> bytes:
    if whole[:1] == b"[":
        return b"[" + b",".join(parts.values()) + b"]"
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + value for name, value in parts.items()) + b"}"


def _check_value(place: str, value: object, depth: int) -> None:
    """What ingest checks of a canonical event's payload, and not again of one that an adapter made."""
    if depth > DEPTH_MAX:
        raise BrokenContractError(f"{place}: the payload nests deeper than {DEPTH_MAX}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BrokenContractError(f"{place}: the payload holds an integer that does not fit 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _check_value(place, inner, depth + 1)


def _short(record: bytes) -> str:
    return f"the record {record[:200]!r}"

"""Step 1 of the path, the rule: an item becomes a record of a raw topic, or a refusal that says why. Pure.

Each item stands alone: an invalid one never holds back a valid one. An item is decoded once.
"""

from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from eventhub.errors import RejectedError
from eventhub.events import KINDS, PERIODS, TYPES, Incoming, Match, RawEvent, Source
from eventhub.identity import Identity, fingerprint, identity
from eventhub.ingest.adapters import Adapter
from eventhub.ingest.admission import admit
from eventhub.ingest.decode import reason
from eventhub.record import Outgoing, pack_tags

INT_RANGE = 2**63
ITEM_BYTES = 65_536
"""An item is checked in one go on the loop that the live feed shares; a record must fit a batch of Kafka's."""
VALUE_BYTES = 131_072
"""A number may be written longer than it came: 1e15."""
NUL = b"\\u0000"


class Accepted(NamedTuple):
    """An item that goes onto the raw topic."""

    event_id: str
    match_id: str
    occurred_at: datetime
    record: Outgoing


class Provider(NamedTuple):
    """A provider's adapter and the declared match that the request names."""

    adapter: Adapter
    match: Match


class Prints(Protocol):
    """Fingerprints of ids that this node knows, for the early 422."""

    def get(self, packed_id: bytes, otherwise: bytes, /) -> bytes:
        """The fingerprint that came with the id, or `otherwise`."""


class Acceptor:
    """Accepts the items of one source."""

    def __init__(self, source: Source, registry: Mapping[str, Match], known: Prints, *, max_depth: int) -> None:
        self.source = source
        self._registry, self._known, self._max_depth = registry, known, max_depth
        self._decode = msgspec.json.Decoder(Incoming).decode
        self._encode = msgspec.json.Encoder().encode

    def accept(
        self, item: bytes, provider: Provider | None, now: datetime, fresh: MutableMapping[bytes, bytes]
    ) -> Accepted:
        """The record for one item; `fresh` collects the ids of this request. Raises RejectedError."""
        if len(item) > ITEM_BYTES:
            raise RejectedError(
                f"the item has {len(item)} bytes; at most {ITEM_BYTES} are taken", code="too_large", pointer=""
            )
        event = self._read(item) if provider is None else provider.adapter.map(item, provider.match)
        match = self._registry.get(event.match_id)
        if match is None:
            raise RejectedError(
                f"match {event.match_id!r} was not declared; PUT /v1/matches/{{match_id}} first",
                code="unknown_match",
                pointer="/match_id",
            )
        self._check(event, match)
        admit(self.source, event.occurred_at, match, now)
        name = self.source if provider is None else f"{self.source}/{provider.adapter.provider}"
        if provider is None:
            check_value(event.payload, self._max_depth, "/payload")
        if NUL in item:
            _check_texts(event)
        who = identity(name, event.match_id, event.source_event_id, event.revision, self._canonical(event))
        print_ = fingerprint(item)
        # Made before the id is noted: an item that is refused here must not count as having come.
        value = self._value(_raw(event, who, name, now))
        if fresh.setdefault(who.packed, self._known.get(who.packed, print_)) != print_:
            raise RejectedError(
                f"event {event.source_event_id!r} revision {event.revision} came before with other bytes;"
                " send a change with a higher revision",
                code="id_conflict",
                pointer="/source_event_id",
            )
        headers = [("h", pack_tags(who.packed, print_, KINDS[event.type]))]
        return Accepted(who.text, event.match_id, event.occurred_at, Outgoing(event.match_id.encode(), value, headers))

    def _read(self, item: bytes) -> Incoming:
        try:
            return self._decode(item)
        except msgspec.ValidationError as error:
            text = str(error)
            code = "number_range" if "out of range" in text else "malformed"
            raise RejectedError(text[:200], code=code, pointer=pointer(text)) from error
        except RecursionError as error:
            raise RejectedError("nested too deeply", code="too_deep", pointer="") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RejectedError(reason(error), code="malformed", pointer="") from error

    def _check(self, event: Incoming, match: Match) -> None:
        kind = TYPES.get(event.type)
        if kind is None:
            raise RejectedError(
                f"type {event.type[:60]!r} is not in the vocabulary", code="unknown_type", pointer="/type"
            )
        if self.source not in kind.sources:
            raise RejectedError(f"{event.type} does not come from {self.source}", code="wrong_source", pointer="/type")
        if event.team_id is not None and match.team(event.team_id) is None:
            raise RejectedError(
                f"team {event.team_id!r} does not play in match {match.match_id}",
                code="unknown_team",
                pointer="/team_id",
            )
        if event.period is not None and event.period not in PERIODS:
            raise RejectedError(
                f"period {event.period[:60]!r} is none of {', '.join(PERIODS)}",
                code="unknown_period",
                pointer="/period",
            )

    def _value(self, raw: RawEvent) -> bytes:
        try:
            value = self._encode(raw)
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise RejectedError("a text is not valid Unicode", code="malformed", pointer="/payload") from error
        if len(value) > VALUE_BYTES:
            raise RejectedError(
                f"the event would have {len(value)} bytes; at most {VALUE_BYTES} are kept",
                code="too_large",
                pointer="/payload",
            )
        return value

    def _canonical(self, event: Incoming) -> bytes:
        if event.source_event_id is not None:
            return b""
        return msgspec.json.encode(event, order="sorted")


def _raw(event: Incoming, who: Identity, source: str, now: datetime) -> RawEvent:
    return RawEvent(
        event_id=who.text,
        source=source,
        match_id=event.match_id,
        type=event.type,
        occurred_at=event.occurred_at if event.occurred_at.tzinfo is UTC else _utc(event.occurred_at),
        accepted_at=now,
        source_event_id=event.source_event_id,
        revision=event.revision,
        action=event.action,
        of=who.of,
        team_id=event.team_id,
        player_id=event.player_id,
        period=event.period,
        clock_s=event.clock_s,
        # Encoded together with the rest; readers keep its bytes as they are.
        payload=cast(msgspec.Raw, event.payload),
    )


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise RejectedError(
            "occurred_at is outside the years 1 to 9999 in UTC", code="malformed", pointer="/occurred_at"
        ) from error


def check_value(value: dict[str, Any] | list[Any], depth: int, place: str) -> None:
    """Refuse what nests deeper than `depth` and integers beyond 64 bits; raises RejectedError with the place."""
    if depth == 0:
        raise RejectedError("nested too deeply", code="too_deep", pointer=place)
    for key, inner in value.items() if type(value) is dict else enumerate(value):
        kind = type(inner)
        if kind is dict or kind is list:
            # Most containers of a hostile item are empty, and of any other there are few.
            if inner or depth == 1:
                check_value(inner, depth - 1, _below(place, key))
        elif kind is int and not -INT_RANGE <= inner < INT_RANGE:
            raise RejectedError("an integer does not fit 64 bits", code="number_range", pointer=_below(place, key))


def _check_texts(event: Incoming) -> None:
    """Refuse the character NUL in a text: JSON may hold it, PostgreSQL's texts may not."""
    for name in ("source_event_id", "player_id"):
        _check_text(getattr(event, name), f"/{name}")
    _check_text(event.payload, "/payload")


def _check_text(value: Any, place: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise RejectedError("a text holds the character NUL (\\u0000)", code="malformed", pointer=place)
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str) and "\0" in key:
                raise RejectedError("a name holds the character NUL (\\u0000)", code="malformed", pointer=place)
            _check_text(inner, _below(place, key))


def _below(place: str, key: object) -> str:
    """The JSON pointer (RFC 6901) one step down; a long name is cut, because pointers are for people here."""
    return f"{place}/{str(key)[:40].replace('~', '~0').replace('/', '~1')}"


def pointer(text: str) -> str:
    """The JSON pointer (RFC 6901) of a msgspec message, which ends in "- at `$.a[0].b`"; an unnamed step ends it."""
    _, found, path = text.rpartition(" - at `$")
    if not found:
        return ""
    return path.rstrip("`").partition("[...]")[0].replace(".", "/").replace("[", "/").replace("]", "")

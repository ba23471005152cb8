"""The contract of every installed adapter: golden records, a function, inside the vocabulary; and the check itself."""

import contextlib
import copy
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventhub.errors import RejectedError
from eventhub.events import TYPES, Incoming, Match, Source, Team
from eventhub.ingest import adapters
from eventhub.ingest.accept import Acceptor, Provider
from eventhub.ingest.adapters.contract import BrokenContractError, check, outcome

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
ADAPTERS = adapters.load()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "@", " ", "NaN", "\x00", "2026-07-01T18:00:00Z", "0001-01-01T00:00:00+14:00", "x" * 3000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def golden(provider: str) -> tuple[Match, list[dict[str, Any]]]:
    file = json.loads((Path(__file__).parent / "golden" / f"{provider}.json").read_text())
    return Match("golden", Team(**file["home"]), Team(**file["away"]), START), file["pairs"]


def records(provider: str) -> list[bytes]:
    return [json.dumps(pair["record"]).encode() for pair in golden(provider)[1]]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_golden_records_map_to_golden_events(provider: str) -> None:
    match, pairs = golden(provider)
    assert len(pairs) >= 5
    for pair in pairs:
        event = ADAPTERS[provider].map(json.dumps(pair["record"]).encode(), match)
        assert json.loads(msgspec.json.encode(event)) == pair["event"]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_every_adapter_keeps_the_contract(provider: str) -> None:
    match, pairs = golden(provider)
    assert len(check(ADAPTERS[provider], records(provider), match)) == len(pairs)


@pytest.mark.parametrize("provider", ADAPTERS)
def test_what_is_mapped_passes_ingest_as_it_is(provider: str) -> None:
    adapter = ADAPTERS[provider]
    match, pairs = golden(provider)
    acceptor = Acceptor(adapter.source, {"golden": match}, {}, max_depth=16)
    for pair in pairs:
        event = msgspec.json.decode(json.dumps(pair["event"]), type=Incoming)
        assert adapter.source in TYPES[event.type].sources
        acceptor.accept(json.dumps(pair["event"]).encode(), None, event.occurred_at, {})


@pytest.mark.parametrize("provider", ADAPTERS)
def test_a_name_of_an_entry_point_is_its_adapters_provider(provider: str) -> None:
    assert ADAPTERS[provider].provider == provider


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *itertools.chain.from_iterable(places(v, (*path, k)) for k, v in inner)]


@st.composite
def broken(draw: st.DrawFn, provider: str) -> bytes:
    """A golden record with one to three values replaced or removed, anywhere inside."""
    record = copy.deepcopy(draw(st.sampled_from(golden(provider)[1]))["record"])
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(record)[1:] or [("id",)]))
        held = record
        for step in way:
            held = held[step]
        if draw(st.booleans()):
            held[last] = draw(JSON)
        else:
            del held[last]
    return json.dumps(record).encode()


@pytest.mark.parametrize("provider", ADAPTERS)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_change_of_a_record_ends_in_an_event_or_in_a_refusal_that_says_where(
    provider: str, data: st.DataObject
) -> None:
    match, _ = golden(provider)
    record = data.draw(broken(provider) | st.binary(max_size=40))
    told = outcome(ADAPTERS[provider], record, match)
    if isinstance(told, Incoming):
        acceptor = Acceptor(ADAPTERS[provider].source, {"golden": match}, {}, max_depth=16)
        with contextlib.suppress(RejectedError):
            acceptor.accept(record, Provider(ADAPTERS[provider], match), told.occurred_at, {})


MATCH = Match("m1", Team("h", "Home"), Team("a", "Away"), START)
RECORDS = [b'{"n":1}', b'{"n":2}', b'{"n":3}']


class Sound:
    """An adapter that keeps the contract; each of the others breaks it once."""

    provider = "sound"
    source: Source = "broadcast"

    def map(self, record: bytes, match: Match) -> Incoming:
        try:
            number = msgspec.json.decode(record, type=dict[str, int])["n"]
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, KeyError) as error:
            raise RejectedError(f"not a number: {error!r}"[:200], code="malformed", pointer="/n") from error
        if not 0 <= number <= 1000:
            raise RejectedError("n is none of 0 to 1000", code="number_range", pointer="/n")
        return self.event(number, match)

    def event(self, number: int, match: Match) -> Incoming:
        moment = match.starts_at + timedelta(seconds=number)
        return Incoming(match_id=match.match_id, type="pass", occurred_at=moment, source_event_id=str(number))

    def read(self, path: Path) -> adapters.Feed:
        raise NotImplementedError


def wrong(**changes: Any) -> type[Sound]:
    class Wrong(Sound):
        def event(self, number: int, match: Match) -> Incoming:
            fields = {name: make(number) for name, make in changes.items()}
            return msgspec.structs.replace(super().event(number, match), **fields)

    return Wrong


class Counting(Sound):
    def __init__(self) -> None:
        self._count = itertools.count()

    def event(self, number: int, match: Match) -> Incoming:
        return msgspec.structs.replace(super().event(number, match), clock_s=float(next(self._count)))


class Clock(Sound):
    def event(self, number: int, match: Match) -> Incoming:
        return msgspec.structs.replace(super().event(number, match), occurred_at=datetime.now(UTC))


class Careless(Sound):
    def map(self, record: bytes, match: Match) -> Incoming:
        return self.event(json.loads(record)["n"], match)


class Nameless(Sound):
    def map(self, record: bytes, match: Match) -> Incoming:
        try:
            return super().map(record, match)
        except RejectedError as error:
            raise RejectedError(error.detail, code="oops", pointer="/n") from error


class Placeless(Sound):
    def map(self, record: bytes, match: Match) -> Incoming:
        try:
            return super().map(record, match)
        except RejectedError as error:
            raise RejectedError(error.detail, code="malformed") from error


class Elsewhere(Sound):
    source: Source = "sensors"


def test_a_sound_adapter_passes_and_its_events_come_back() -> None:
    assert [e.source_event_id for e in check(Sound(), RECORDS, MATCH)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (Counting, "maps to another event the next time"),
        (Clock, "maps to another event the next time"),
        (Careless, "RejectedError is needed"),
        (Nameless, "'oops'"),
        (Placeless, "a JSON pointer is needed"),
        (Elsewhere, "does not come from sensors"),
        (wrong(type=lambda n: "try"), "'try' does not come from broadcast"),
        (wrong(match_id=lambda n: "m2"), "'m2' is not the declared 'm1'"),
        (wrong(team_id=lambda n: "x"), "team 'x' does not play"),
        (wrong(period=lambda n: "3rd"), "period '3rd'"),
        (wrong(clock_s=lambda n: -1.0), "not a canonical one"),
        (wrong(occurred_at=lambda n: datetime(2026, 7, 1)), "not a canonical one"),  # noqa: DTZ001
        (wrong(source_event_id=lambda n: "x" * 201), "not a canonical one"),
        (wrong(payload=lambda n: {"x": float("nan")}), "another one after a way through JSON"),
        (wrong(payload=lambda n: {"x": 2**70}), "does not fit 64 bits"),
        (wrong(payload=lambda n: {"x": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}), "deeper than 16"),
        (wrong(source_event_id=lambda n: "same"), "records 0 and 1 have one id"),
    ],
)
def test_an_adapter_that_breaks_the_contract_is_told_how(adapter: Callable[[], Sound], told: str) -> None:
    with pytest.raises(BrokenContractError, match=told):
        check(adapter(), RECORDS, MATCH)


def test_a_record_that_must_be_taken_and_is_refused_breaks_the_contract() -> None:
    with pytest.raises(BrokenContractError, match="record 1 is refused: number_range at /n"):
        check(Sound(), [b'{"n":1}', b'{"n":5000}'], MATCH)


def test_without_records_nothing_is_checked_and_that_is_said() -> None:
    with pytest.raises(BrokenContractError, match="no records"):
        check(Sound(), [], MATCH)

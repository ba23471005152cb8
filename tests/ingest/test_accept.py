"""The rule of step 1: what becomes of an item."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from eventhub.errors import EventhubError, MalformedError, RejectedError, TooLargeError
from eventhub.events import Match, RawEvent, Source, Team
from eventhub.ingest.accept import Accepted, Acceptor
from eventhub.ingest.decode import split
from eventhub.ingest.known import Known
from eventhub.record import LogRecord, raw_tags

NOW = datetime(2026, 7, 1, 19, tzinfo=UTC)
MATCH = Match("m1", Team("h", "Home"), Team("a", "Away"), NOW - timedelta(hours=1))


def item(**changes: Any) -> bytes:
    event = {"match_id": "m1", "type": "pass", "occurred_at": "2026-07-01T18:59:00Z", "source_event_id": "7"}
    return msgspec.json.encode({k: v for k, v in (event | changes).items() if v is not None})


def accept(body: bytes, *, source: Source = "broadcast", known: dict[bytes, bytes] | None = None) -> Accepted:
    acceptor = Acceptor(source, {"m1": MATCH}, known or {}, max_depth=4)
    return acceptor.accept(body, None, NOW, {})


def refusal(body: bytes, source: Source = "broadcast") -> tuple[str, str | None]:
    with pytest.raises(RejectedError) as caught:
        accept(body, source=source)
    return caught.value.name, caught.value.pointer


def test_an_item_becomes_a_raw_event_keyed_by_its_match() -> None:
    accepted = accept(item(payload={"x": 1}))
    assert accepted.record.key == b"m1"
    event = msgspec.json.decode(accepted.record.value or b"", type=RawEvent)
    assert (event.event_id, event.source, event.accepted_at) == (accepted.event_id, "broadcast", NOW)


def test_the_id_depends_on_source_match_own_id_and_revision_alone() -> None:
    first = accept(item())
    assert accept(item(payload={"x": 2})).event_id == first.event_id
    assert accept(item(source_event_id="8")).event_id != first.event_id
    revised = msgspec.json.decode(accept(item(revision=1)).record.value or b"", type=RawEvent)
    assert revised.event_id != first.event_id
    assert revised.of == first.event_id


def test_without_an_own_id_everything_said_makes_the_id() -> None:
    first = accept(item(source_event_id=None))
    assert accept(item(source_event_id=None)).event_id == first.event_id
    assert accept(item(source_event_id=None, occurred_at="2026-07-01T18:59:01Z")).event_id != first.event_id
    assert accept(item(source_event_id=None, payload={"x": 1})).event_id != first.event_id


def test_the_same_id_with_other_bytes_is_refused_where_the_node_knows_it() -> None:
    first = accept(item())
    tags = raw_tags(first.record.headers[0][1])
    known = {tags.event_id: tags.fingerprint}
    with pytest.raises(RejectedError) as caught:
        accept(item(payload={"x": 2}), known=known)
    assert caught.value.name == "id_conflict"
    assert accept(item(), known=known).event_id == first.event_id


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"type": "try"}, "unknown_type", "/type"),
        ({"match_id": "m2"}, "unknown_match", "/match_id"),
        ({"team_id": "x"}, "unknown_team", "/team_id"),
        ({"period": "third_half"}, "unknown_period", "/period"),
        ({"type": "post"}, "wrong_source", "/type"),
        ({"occurred_at": "2026-07-01T19:05:01Z"}, "too_early", "/occurred_at"),
        ({"occurred_at": "2026-07-01 18:59"}, "malformed", "/occurred_at"),
        ({"occurred_at": "2026-07-01T18:59:00"}, "malformed", "/occurred_at"),
        ({"payload": {"a": {"b": {"c": {"d": {}}}}}}, "too_deep", "/payload/a/b/c/d"),
        ({"payload": {"a": [1, 2**70]}}, "number_range", "/payload/a/1"),
        ({"payload": 5}, "malformed", "/payload"),
        ({"typ": "x"}, "malformed", ""),
        ({"revision": -1}, "malformed", "/revision"),
        ({"clock_s": -1}, "malformed", "/clock_s"),
    ],
)
def test_a_refusal_names_its_code_and_place(changes: dict[str, Any], code: str, pointer: str) -> None:
    assert refusal(item(**changes)) == (code, pointer)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a": NaN}', "malformed"),
        (b'{"match_id":"m1","type":"pass","occurred_at":"2026-07-01T18:59:00Z","payload":{"a":1e999}}', "number_range"),
        (b'{"payload":{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}}", "too_deep"),
        (b'{"payload":{"a":"\xff"}}', "malformed"),
        (b'{"payload":{"a":"\\ud800"}}', "malformed"),
        (b'{"payload":{"a":"' + b"9" * 5 + b"\x00" + b'"}}', "malformed"),
        (b'{"payload":{"a":' + b"9" * 5000 + b"}}", "number_range"),
    ],
)
def test_broken_bytes_are_refused_and_nothing_else_happens(body: bytes, code: str) -> None:
    assert refusal(body)[0] == code


def test_windows_are_relative_to_the_source_and_the_declared_match() -> None:
    frame = item(type="tracking_frame", occurred_at="2026-07-01T18:57:59Z")
    assert refusal(frame, "sensors") == ("too_late", "/occurred_at")
    accept(item(type="tracking_frame", occurred_at="2026-07-01T18:58:01Z"), source="sensors")
    assert refusal(item(type="post", occurred_at="2026-07-01T18:44:59Z"), "social") == ("too_late", "/occurred_at")
    closed = Acceptor("broadcast", {"m1": MATCH}, {}, max_depth=4)
    closed.accept(item(), None, NOW + timedelta(hours=9), {})
    with pytest.raises(RejectedError, match="closed for broadcast"):
        closed.accept(item(), None, NOW + timedelta(hours=9, seconds=1), {})


@pytest.mark.parametrize(
    ("body", "content_type", "count"),
    [
        (b'[{"a":1}, {"b":2}]', "application/json", 2),
        (b'{"a":1}\n{"b":2}\n\n', "application/x-ndjson", 2),
        (b'{"a":1}\n{"b":2}', "", 2),
        (b'{\n "a": 1\n}', "application/json", 1),
        (b"[]", "application/json", 0),
    ],
)
def test_a_body_is_one_object_an_array_or_lines(body: bytes, content_type: str, count: int) -> None:
    assert len(split(body, content_type, 100)) == count


def test_a_broken_line_spoils_only_itself_but_a_broken_array_the_whole() -> None:
    assert len(split(b'{"a":1}\n{"a":\n{"b":2}', "application/x-ndjson", 100)) == 3
    with pytest.raises(MalformedError):
        split(b'[{"a":1},{"a":]', "application/json", 100)


@pytest.mark.parametrize(("body", "error"), [(b"", MalformedError), (b"[1,2,3]", TooLargeError)])
def test_empty_and_oversized_bodies_are_refused(body: bytes, error: type[EventhubError]) -> None:
    with pytest.raises(error):
        split(body, "application/json", 2)


def on_the_log(accepted: Accepted, kind: str = "n:pass") -> LogRecord:
    """What enrichment makes of an accepted item, as the tail reads it."""
    tags = raw_tags(accepted.record.headers[0][1])
    return LogRecord(0, 0, "m1", kind, b"{}", 0, (), event_id=tags.event_id, fingerprint=tags.fingerprint)


def test_what_the_log_says_of_an_id_replaces_what_came_through_this_node() -> None:
    known = Known()
    original, other = item(), item(payload={"x": 2})
    acceptor = Acceptor("broadcast", {"m1": MATCH}, known, max_depth=4)
    fresh: dict[bytes, bytes] = {}
    acceptor.accept(other, None, NOW, fresh)
    assert known.note(fresh) == 0
    # Another node took the original, and the raw topic's order chose that one.
    known.learn([on_the_log(accept(original))])
    repeat = dict[bytes, bytes]()
    acceptor.accept(original, None, NOW, repeat)
    assert known.note(repeat) == 1
    with pytest.raises(RejectedError, match="came before with other bytes"):
        acceptor.accept(other, None, NOW, {})


def test_states_are_not_learnt_and_the_oldest_ids_are_forgotten() -> None:
    known = Known(most=2)
    known.learn([on_the_log(accept(item(source_event_id="0")), kind="n:state")])
    first, *others = (accept(item(source_event_id=str(n))) for n in range(3))
    known.learn(map(on_the_log, (first, *others)))

    def prints(one: Accepted) -> bytes:
        return known.get(raw_tags(one.record.headers[0][1]).event_id, b"unknown")

    assert prints(first) == b"unknown"
    assert b"unknown" not in map(prints, others)

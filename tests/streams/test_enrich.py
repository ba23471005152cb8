"""The rule of step 2: what becomes of a raw record."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from eventhub import record, topics
from eventhub.events import Event, Match, Player, RawEvent, Team
from eventhub.identity import fingerprint, identity
from eventhub.streams.enrich import Consumed, Dead, Enriched, Enricher
from eventhub.streams.memory import HOUR_MS, Memory, dump, load

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
MATCH = Match("m1", Team("h", "Home"), Team("a", "Away"), START, [Player("p9", "Nine", "h")])


def raw(
    number: int,
    *,
    topic: str = topics.BROADCAST,
    kind: str = "pass",
    revision: int = 0,
    content: bytes = b"x",
    at_ms: int = START_MS,
    cause: int = -1,
    period: str | None = "first_half",
    match_id: str = "m1",
) -> Consumed:
    who = identity("broadcast", match_id, f"n{number}", revision, b"")
    value = msgspec.json.encode(
        RawEvent(
            event_id=who.text,
            source="broadcast",
            match_id=match_id,
            type=kind,
            occurred_at=START,
            accepted_at=START,
            revision=revision,
            of=who.of,
            team_id="h",
            player_id="p9",
            period=period,
            clock_s=61.0 if period else None,
            payload=msgspec.Raw(b'{"x": 1.50}'),
        )
    )
    tags = record.pack_tags(who.packed, fingerprint(content), f"n:{kind}".encode(), cause)
    return Consumed(topic, number, value, tags, at_ms)


def enricher() -> Enricher:
    return Enricher({"m1": MATCH}, Memory())


def test_an_event_gets_its_names_minute_and_lane_and_keeps_its_payloads_bytes() -> None:
    result = enricher().step(raw(1))
    assert isinstance(result, Enriched)
    event = msgspec.json.decode(result.value, type=Event)
    assert (event.team, event.player, event.minute, event.lane) == ("Home", "Nine", "2", "normal")
    assert b'{"x": 1.50}' in result.value


def test_the_same_bytes_again_are_dropped() -> None:
    rule = enricher()
    assert isinstance(rule.step(raw(1)), Enriched)
    assert rule.step(raw(1)) is None


def test_the_same_id_with_other_bytes_is_a_conflict_and_the_first_stands() -> None:
    rule = enricher()
    rule.step(raw(1))
    second = rule.step(raw(1, content=b"y"))
    assert isinstance(second, Dead)
    assert second.code == "id_conflict"
    assert rule.step(raw(1)) is None


def test_a_revision_is_an_event_of_its_own_that_names_the_first() -> None:
    rule = enricher()
    first, revised = rule.step(raw(1)), rule.step(raw(1, revision=1, content=b"y"))
    assert isinstance(first, Enriched)
    assert isinstance(revised, Enriched)
    of = msgspec.json.decode(revised.value, type=Event).of
    assert of == msgspec.json.decode(first.value, type=Event).event_id


def revised(rule: Enricher, number: int, revision: int, kind: str) -> str:
    """What the log's record says that this revision revises."""
    result = rule.step(raw(number, revision=revision, kind=kind, content=b"%d" % revision))
    assert isinstance(result, Enriched)
    vector = record.pack_vector(0, [0] * len(topics.RAW), record.pack_incarnations(["0" * 8] * len(topics.RAW)))
    tags = record.log_tags(vector + result.tags)
    assert tags.kind == f"n:{kind}".encode()
    return tags.revises.decode()


def test_a_revision_carries_every_kind_that_viewers_have_it_as() -> None:
    rule = enricher()
    assert [revised(rule, 1, n, kind) for n, kind in enumerate(("goal", "shot", "pass", "pass"))] == [
        "",
        "n:goal",
        "n:goal,n:shot",
        "n:goal,n:shot,n:pass",
    ]


def test_a_revision_that_comes_before_what_it_revises_carries_nothing() -> None:
    rule = enricher()
    assert [revised(rule, 1, 1, "shot"), revised(rule, 1, 0, "goal")] == ["", ""]


def test_what_a_revision_revises_survives_a_rebuild_and_a_snapshot() -> None:
    rule, rebuilt = enricher(), enricher()
    for revision, kind in enumerate(("goal", "shot")):
        one = raw(1, revision=revision, kind=kind, content=b"%d" % revision)
        enriched = rule.step(one)
        assert isinstance(enriched, Enriched)
        rebuilt.fold(one.topic, "m1", enriched.value, record.raw_tags(one.head), START_MS)
    restored = Enricher({"m1": MATCH}, load(dump(rebuilt.memory)))
    assert revised(restored, 1, 2, "pass") == "n:goal,n:shot"


def test_a_snapshot_of_before_kinds_were_kept_is_read() -> None:
    rule = enricher()
    rule.step(raw(1, kind="goal"))
    ids = rule.memory.match("m1").ids
    ids.update({event_id: known[:8] for event_id, known in ids.items()})
    assert rule.step(raw(1, kind="goal")) is None
    assert [revised(rule, 1, 1, "shot"), revised(rule, 1, 2, "pass")] == ["", "n:shot"]


def test_an_unknown_match_and_broken_bytes_are_dead_letters() -> None:
    unknown = enricher().step(raw(1, match_id="m2"))
    assert isinstance(unknown, Dead)
    assert unknown.code == "unknown_match"
    broken = enricher().step(raw(1)._replace(value=b"{"))
    assert isinstance(broken, Dead)
    assert broken.code == "malformed"


def test_a_match_whose_ids_are_forgotten_is_closed_and_reopens_when_declared_anew() -> None:
    registry = {"m1": MATCH}
    rule = Enricher(registry, Memory())
    rule.step(raw(1, kind="match_end"))
    rule.memory.forget(START_MS + 10 * HOUR_MS, registry)
    assert rule.step(raw(1)) is None, "its ids are remembered until 6 h after the end and 10 minutes more"
    rule.memory.forget(START_MS + 11 * HOUR_MS, registry)
    late = rule.step(raw(1))
    assert isinstance(late, Dead)
    assert late.code == "too_late"
    moved = datetime(2026, 7, 3, tzinfo=UTC)
    registry["m1"] = Match("m1", MATCH.home, MATCH.away, moved)
    assert isinstance(rule.step(raw(2)), Enriched)


def test_positions_that_waited_too_long_are_too_late() -> None:
    waited = raw(1, topic=topics.SENSORS, kind="tracking_frame", at_ms=START_MS + 13 * 60_000)
    result = enricher().step(waited)
    assert isinstance(result, Dead)
    assert result.code == "too_late"
    in_time = waited._replace(appended_ms=START_MS + 11 * 60_000)
    assert isinstance(enricher().step(in_time), Enriched)


@pytest.mark.parametrize(
    ("topic", "window_s"), [(topics.SENSORS, 12 * 60), (topics.SOCIAL, 25 * 60), (topics.BROADCAST, None)]
)
def test_what_is_sent_again_behind_its_window_is_too_late(topic: str, window_s: int | None) -> None:
    def again(after_s: int) -> Any:
        return enricher().step(raw(1, topic=topic, at_ms=START_MS + after_s * 1000))

    if window_s is None:
        assert isinstance(again(29 * 86_400), Enriched), "a broadcast's window is its match's, as long as one is heard"
        return
    assert isinstance(again(window_s), Enriched)
    late = again(window_s + 1)
    assert isinstance(late, Dead)
    assert late.code == "too_late"


def test_what_fails_after_it_was_decided_does_not_count_as_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = enricher()

    def broken(*_: object) -> None:
        raise ValueError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(Enricher, "_tick", broken)
        with pytest.raises(ValueError, match="a defect"):
            rule.step(raw(1))
    assert isinstance(rule.step(raw(1)), Enriched)


def test_of_states_only_what_is_ahead_of_the_last_passes() -> None:
    rule = enricher()
    assert isinstance(rule.step(raw(1, topic=topics.STATS, kind="state", cause=5)), Enriched)
    assert rule.step(raw(2, topic=topics.STATS, kind="state", cause=5)) is None
    assert rule.step(raw(3, topic=topics.STATS, kind="state", cause=4)) is None
    assert isinstance(rule.step(raw(4, topic=topics.STATS, kind="state", cause=6)), Enriched)


def test_a_post_without_a_clock_gets_the_matchs() -> None:
    rule = enricher()
    rule.step(raw(1))
    post = rule.step(raw(2, topic=topics.SOCIAL, kind="post", period=None))
    assert isinstance(post, Enriched)
    assert msgspec.json.decode(post.value, type=Event).minute == "2"


def test_the_state_rebuilt_from_the_log_or_from_a_snapshot_decides_alike() -> None:
    first, again = enricher(), enricher()
    for number in range(20):
        result = first.step(raw(number))
        assert isinstance(result, Enriched)
        again.fold(topics.BROADCAST, "m1", result.value, record.raw_tags(result.tags), START_MS)
    assert again.memory == first.memory
    restored = Enricher({"m1": MATCH}, load(dump(first.memory)))
    for rule in (again, restored):
        assert rule.step(raw(3)) is None
        assert isinstance(rule.step(raw(3, content=b"y")), Dead)
        assert isinstance(rule.step(raw(20)), Enriched)

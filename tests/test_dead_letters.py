"""Letters that enrichment itself buried on a real broker: once each, sent again in order, linked, closed, opened again.

Each guarantee is a function that a mutant fails: the same scenario, with one rule taken out by a patch.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from eventhub import dead_letters, topics
from eventhub.dead_letters import Letter, Wanted, again
from eventhub.dead_letters import letters as folding
from eventhub.errors import NotFoundError, RejectedError, UnavailableError
from eventhub.kafka import Declared, Kafka, Offsets, Writer
from eventhub.record import Outgoing
from eventhub.streams.enrich import Enricher
from tests.support.letters import NOW, PARTITION, Desk


@pytest.fixture
async def desk(own_cluster: Kafka, own_declared: Declared, request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    offsets, writer = Offsets(own_cluster), Writer(own_cluster)
    await offsets.open()
    await writer.open()
    made = Desk(own_cluster, offsets, writer, own_declared, f"desk-{request.node.name}")
    await made.begin()
    yield made
    await made.duty.release()
    await writer.close()
    await offsets.close()


BROKEN = (
    Outgoing(b"m", b"\xff\x00 not JSON", [("h", b"")]),
    Outgoing(b"m", None, []),
    Outgoing(b"m", b'{"event_id":"x"}', []),
    Outgoing(b"m", b"[" * 200_000, [("h", bytes(32))]),
)


async def written_twice_is_listed_once(desk: Desk) -> None:
    await desk.send(*BROKEN)
    await desk.send_events(2)
    await desk.work_twice()
    letters = await desk.letters()
    assert [one.code for one in letters] == ["malformed"] * 4 + ["unknown_match"] * 2
    assert [(one.attempts, one.written, one.state) for one in letters] == [(1, 2, "open")] * 6
    assert [one.match_id for one in letters] == [None] * 4 + [desk.match_id] * 2
    assert [one.event_id for one in letters[4:]] == desk.ids(2)


async def dead_again_is_the_same_letter(desk: Desk) -> None:
    await desk.send(*BROKEN)
    await desk.work()
    first = await desk.letters()
    assert await desk.replay(first) == len(BROKEN)
    await desk.work()
    second = await desk.letters()
    assert [one.key for one in second] == [one.key for one in first]
    assert [(one.attempts, len(one.origins), one.state) for one in second] == [(2, 2, "open")] * len(BROKEN)
    await desk.replay(second)
    await desk.work()
    third = await desk.letters()
    assert [(one.key, one.attempts, len(one.origins)) for one in third] == [(one.key, 3, 3) for one in first]
    for letter, (_, value, _) in zip(third, BROKEN, strict=True):
        assert await dead_letters.value(desk.cluster, letter) == value


async def dead_again_before_the_end_is_open(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enrichment is quicker than we are: the second letter lies before the end of the first."""
    await desk.send_events(1)
    await desk.work()
    close = again._close

    async def slowly(*arguments: Any, **named: Any) -> None:
        await desk.work()
        await close(*arguments, **named)

    monkeypatch.setattr(again, "_close", slowly)
    await desk.replay(await desk.letters())
    (letter,) = await desk.letters()
    assert (letter.state, letter.attempts) == ("open", 2), "a letter that nobody has seen was closed"


async def once_the_cause_is_gone(desk: Desk) -> None:
    await desk.send_events(30)
    await desk.work_twice()
    desk.declare()
    letters = await desk.letters()
    assert await desk.replay(letters[::-1]) == 30
    await desk.work()
    assert await desk.on_log() == desk.ids(30), "not all are on the log once, in the order in which they came"
    assert {one.state for one in await desk.letters()} == {"replayed"}
    # Whoever sends them again changes nothing.
    await desk.replay(letters)
    await desk.work()
    assert await desk.on_log() == desk.ids(30), "twice on the log"


async def closed_only_when_it_is_durable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.send_events(3)
    await desk.work()
    append = Writer.append

    async def refuse(self: Writer, topic: str, *rest: Any, **named: Any) -> None:
        if topic in topics.RAW:
            raise UnavailableError("Kafka does not take it")
        await append(self, topic, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", refuse)
        with pytest.raises(UnavailableError):
            await desk.replay(await desk.letters())
    assert [one.state for one in await desk.letters()] == ["open"] * 3, "closed, and never sent"


async def written_after_its_end_is_open_again(desk: Desk) -> None:
    await desk.send_events(2)
    await desk.work()
    await dead_letters.discard(desk.cluster, await desk.letters(), by="ann", reason="test data", at=NOW)
    put_away = await desk.letters()
    assert [(one.state, one.ended_by, one.reason) for one in put_away] == [("discarded", "ann", "test data")] * 2
    # The owner lost what it knew, as if it had died before its log record.
    desk.duty._applied[0] -= 1
    await desk.work()
    assert [one.state for one in await desk.letters()] == ["discarded", "open"]


async def test_a_letter_that_was_written_twice_is_listed_once(desk: Desk) -> None:
    await written_twice_is_listed_once(desk)


async def test_what_is_dead_again_is_the_same_letter_with_one_more_attempt(desk: Desk) -> None:
    await dead_again_is_the_same_letter(desk)


async def test_a_letter_that_is_dead_again_before_its_end_is_written_stays_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dead_again_before_the_end_is_open(desk, monkeypatch)


async def test_once_the_cause_is_gone_replay_puts_everything_on_the_log_once_and_in_order(desk: Desk) -> None:
    await once_the_cause_is_gone(desk)


async def test_a_letter_is_closed_only_when_its_record_is_durable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await closed_only_when_it_is_durable(desk, monkeypatch)


async def test_a_letter_that_is_written_after_its_end_is_open_again(desk: Desk) -> None:
    await written_after_its_end_is_open_again(desk)


async def test_a_discarded_letter_can_still_be_sent_by_its_key(desk: Desk) -> None:
    await desk.send_events(1)
    await desk.work()
    (letter,) = await desk.letters()
    await dead_letters.discard(desk.cluster, [letter], by="ann", reason="a mistake", at=NOW)
    desk.declare()
    assert await desk.replay(dead_letters.find(await desk.letters(), [letter.key])) == 1
    await desk.work()
    assert await desk.on_log() == desk.ids(1)
    assert [one.state for one in await desk.letters()] == ["replayed"]


Scenario = Callable[[Desk], Awaitable[None]]


def by_copy(consumed: Any, own: dict[str, str], raw: Any) -> tuple[str, int, str]:
    key = f"{consumed.topic}.{consumed.partition}.{consumed.offset}"
    return f"{topics.BROADCAST}.{PARTITION}.{10**9 + consumed.offset}", 1, key


def without_link(letter: Letter, copy: Any) -> Outgoing:
    return Outgoing(b"", copy.value, list(folding.split(copy.headers)[1]))


def without_headers(letter: Letter, copy: Any) -> Outgoing:
    return Outgoing(b"", copy.value, [("of", letter.key.encode()), ("attempts", b"2")])


def link_first(letter: Letter, copy: Any) -> Outgoing:
    return Outgoing(b"", copy.value, [("of", letter.key.encode()), *folding.split(copy.headers)[1]])


def backwards(letter: Letter) -> Any:
    topic, partition, offset = letter.key.rsplit(".", 2)
    return folding.Origin(topic, int(partition), -int(offset))


@pytest.mark.parametrize(
    ("scenario", "place", "name", "mutant"),
    [
        (written_twice_is_listed_once, folding, "_identity", by_copy),
        (dead_again_is_the_same_letter, again, "_again", without_link),
        (once_the_cause_is_gone, again, "_again", without_headers),
        (once_the_cause_is_gone, again, "_again", link_first),
        (once_the_cause_is_gone, again, "_place", backwards),
        (once_the_cause_is_gone, Enricher, "_refuse", lambda *_: None),
    ],
    ids=[
        "letters are not folded",
        "no link",
        "headers are lost",
        "h is not the first header",
        "not in order",
        "duplicates are not dropped",
    ],
)
async def test_mutants_of_the_fold_and_of_what_is_sent_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, scenario: Scenario, place: Any, name: str, mutant: Any
) -> None:
    monkeypatch.setattr(place, name, mutant)
    with pytest.raises(AssertionError):
        await scenario(desk)


async def test_mutant_an_end_that_closes_every_try_hides_a_letter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "_number", lambda _said, _otherwise: 10**6)
    with pytest.raises(AssertionError, match=r"nobody has seen|1000000"):
        await dead_again_before_the_end_is_open(desk, monkeypatch)


async def test_mutant_an_end_before_the_acknowledgement_loses_letters(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = again._copies

    async def close_first(kafka: Kafka, letters: Sequence[Letter]) -> dict[int, Any]:
        await again._close(desk.writer, letters, "replayed", by="ann", at=NOW, reason="")
        return await copies(kafka, letters)

    monkeypatch.setattr(again, "_copies", close_first)
    with pytest.raises(AssertionError, match="never sent"):
        await closed_only_when_it_is_durable(desk, monkeypatch)


async def test_mutant_a_letter_that_stays_closed_hides_what_is_written_after(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = folding.Fold._add

    def closed_for_ever(self: folding.Fold, consumed: Any) -> None:
        before = {name: one.state for name, one in self.letters.items()}
        add(self, consumed)
        for name, state in before.items():
            self.letters[name].state = state

    monkeypatch.setattr(folding.Fold, "_add", closed_for_ever)
    with pytest.raises(AssertionError):
        await written_after_its_end_is_open_again(desk)


async def test_letters_are_found_by_code_match_stage_state_and_time_newest_first(desk: Desk) -> None:
    await desk.send(*BROKEN)
    await desk.work()
    await desk.send_events(3)
    await desk.work()
    mine = await desk.letters()

    def keys(**asked: Any) -> list[str]:
        return [one.key for one in dead_letters.select(mine, Wanted(**asked))]

    assert len(keys()) == 7
    assert keys(code="unknown_match") == keys(match_id=desk.match_id) == [one.key for one in mine[:3:-1]]
    assert keys(stage="enrichment") == keys()
    assert keys(stage="history") == keys(state="replayed") == []
    assert keys(since=mine[-1].last_at) == keys(code="unknown_match")
    assert keys(since=mine[-1].last_at + timedelta(seconds=1)) == []
    depth = dead_letters.depth(mine, mine[0].first_at + timedelta(seconds=90))
    assert depth == (7, 90.0, {"malformed": 4, "unknown_match": 3})
    assert dead_letters.depth([], NOW) == (0, None, {})


async def test_what_cannot_be_sent_again_is_refused_before_anything_is_sent(desk: Desk) -> None:
    await desk.send_events(2)
    await desk.work()
    letters = await desk.letters()
    letters[1].stage = "history"
    with pytest.raises(RejectedError, match="history"):
        await desk.replay(letters)
    assert [one.state for one in await desk.letters()] == ["open", "open"]
    with pytest.raises(NotFoundError, match=r"broadcast-events\.3\.999999"):
        dead_letters.find(letters, [f"{topics.BROADCAST}.3.999999"])

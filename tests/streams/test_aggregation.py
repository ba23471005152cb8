"""Aggregation alone, on a real Kafka: an event on which the fold fails holds up no sheet."""

from typing import Any

import msgspec
import pytest

from eventhub import topics
from eventhub.kafka import read_range
from eventhub.record import MatchState
from eventhub.streams import aggregation, sheet
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.owner import Batch
from tests.streams.bench import Bench, Granted


async def folded_around_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six events the fold fails on the third; the sheet has the other five, and an owner that follows too."""
    apply, seen = sheet.apply, 0

    def failing(fold: sheet.Fold, event: sheet.Seen) -> sheet.Change:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise ZeroDivisionError("the third event")
        return apply(fold, event)

    monkeypatch.setattr(sheet, "apply", failing)
    enrichment = bench.duty("enriching")
    await enrichment.acquire(Granted())
    start = (await bench.offsets.bounds(topics.LOG, bench.partition)).end
    await bench.send(6)
    await bench.work(enrichment)
    around = aggregation.Surroundings(bench.cluster, bench.declared, bench.registry, bench.caught_up, "folding")
    duty = Aggregation(bench.partition, around, refresh_s=3600)
    await duty.acquire(Granted())
    end = (await bench.offsets.bounds(topics.LOG, bench.partition)).end
    records: list[Any] = []
    async for some in read_range(bench.cluster, topics.LOG, bench.partition, start):
        records += some
    await duty.apply([Batch(topics.LOG, records)])
    assert seen == 6
    assert duty.next_offsets() == {topics.LOG: end}
    await duty.release()
    assert await stored(bench) == 5
    await enrichment.release()


async def stored(bench: Bench) -> int:
    """How many events are in the fold that the next owner would load."""
    found = 0
    async for records in read_range(bench.cluster, topics.MATCH_STATE, bench.partition, 0):
        for one in records:
            if one.key is not None and one.key.decode() == bench.match_id:
                state = msgspec.json.decode(one.value, type=MatchState)
                found = msgspec.json.decode(state.fold, type=sheet.Fold).numbers
    return found


async def test_an_event_on_which_the_fold_fails_is_left_out_and_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await folded_around_a_failure(bench, monkeypatch)
    told = capsys.readouterr().out
    assert "event is left out of its sheet" in told and "the third event" in told


async def test_mutant_an_owner_that_starts_over_never_gets_past_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Aggregation, "_fold", Aggregation._fold_one)
    with pytest.raises(ZeroDivisionError):
        await folded_around_a_failure(bench, monkeypatch)

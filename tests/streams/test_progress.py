"""Progress of one partition is what was applied and never before; being behind without it is stalling."""

from collections.abc import Sequence
from typing import Any

import pytest

from eventhub import topics
from eventhub.kafka import Bounds
from eventhub.streams.progress import Progress, Report

LOG = topics.LOG


def judged(progress: Progress, now: float, *, ready: bool = True, missing: Sequence[str] = ()) -> Report:
    return progress.judge(ready=ready, proving=False, missing=missing, now=now)


def at_work(next_offset: int = 0) -> Progress:
    """An owner that acquired the partition at time 0."""
    progress = Progress([LOG], 0.0)
    progress.reach({LOG: next_offset}, 0.0)
    return progress


def test_the_lag_is_what_is_not_applied_and_how_long_the_oldest_of_it_has_been_there() -> None:
    progress = at_work(5)
    progress.look({LOG: Bounds(0, 5)}, 10.0)
    assert judged(progress, 100.0).state == "idle"
    progress.look({LOG: Bounds(0, 7)}, 102.0)
    progress.look({LOG: Bounds(0, 9)}, 104.0)
    report = judged(progress, 106.0)
    assert (report.state, report.lag, report.lag_s, report.stalled_s) == ("working", 4, 4.0, 4.0)
    progress.reach({LOG: 8}, 107.0)
    report = judged(progress, 110.0)
    assert (report.lag, report.lag_s, report.stalled_s, report.progressed_s_ago) == (1, 6.0, 3.0, 3.0)
    progress.reach({LOG: 9}, 111.0)
    assert judged(progress, 500.0) == Report("idle", {LOG: 9}, 0, 0.0, 389.0, 0.0, [], 0.0)


def test_a_backlog_that_shrinks_slowly_never_stalls() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 1000)}, 0.0)
    for step in range(1, 100):
        progress.reach({LOG: step}, step * 50.0)
        assert judged(progress, step * 50.0 + 40).stalled_s == 40.0
    assert judged(progress, 5000.0).lag_s == 5000.0


def test_the_age_of_the_oldest_stays_known_over_hours_of_samples() -> None:
    progress = at_work()
    for sample in range(1, 5000):
        progress.look({LOG: Bounds(0, sample)}, 2.0 * sample)
        if sample == 100:
            progress.reach({LOG: 100}, 200.0)
    assert judged(progress, 10_000.0).lag_s == 10_000.0 - 202.0
    progress.reach({LOG: 4000}, 10_000.0)
    assert 0 <= judged(progress, 10_000.0).lag_s <= 2100.0, "coarser with age, but no later than what is there"


def doing_the_same_again_is_no_progress() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 100)}, 0.0)
    progress.reach({LOG: 50}, 10.0)
    for again in range(20, 200):
        # Acquired anew where it is durable, applied up to the record that always fails.
        progress.reach({LOG: 40}, again)
        progress.reach({LOG: 50}, again + 0.5)
    assert judged(progress, 200.0).stalled_s == 190.0


def test_doing_the_same_again_is_no_progress() -> None:
    doing_the_same_again_is_no_progress()


def test_mutant_whatever_is_applied_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(self: Any, offset: int, now: float) -> None:
        self.next, self.moved_at = offset, now

    monkeypatch.setattr("eventhub.streams.progress._Topic.reach", moved)
    with pytest.raises(AssertionError):
        doing_the_same_again_is_no_progress()


def test_one_topic_of_several_that_stands_still_is_found() -> None:
    progress = Progress(topics.RAW, 0.0)
    progress.reach(dict.fromkeys(topics.RAW, 0), 0.0)
    progress.look(dict.fromkeys(topics.RAW, Bounds(0, 10_000)), 0.0)
    for now in range(1, 100):
        progress.reach({t: now * 10 for t in topics.RAW if t != topics.SOCIAL}, now)
    assert judged(progress, 100.0).stalled_s == 100.0


def test_what_retention_took_is_nothing_to_do() -> None:
    progress = at_work(50)
    progress.look({LOG: Bounds(100, 100)}, 5.0)
    assert judged(progress, 100.0).state == "idle"
    progress.look({LOG: Bounds(100, 101)}, 100.0)
    assert judged(progress, 101.0).lag == 1


def test_a_topic_that_is_made_anew_counts_from_its_beginning() -> None:
    progress = at_work(1000)
    progress.look({LOG: Bounds(0, 1000)}, 0.0)
    progress.look({LOG: Bounds(0, 20)}, 50.0)
    progress.reach({LOG: 0}, 51.0)
    progress.look({LOG: Bounds(0, 20)}, 52.0)
    progress.reach({LOG: 21}, 60.0)
    assert judged(progress, 61.0).progressed_s_ago == 1.0


def test_a_partition_that_is_never_acquired_stalls_although_nothing_is_known_to_do() -> None:
    progress = Progress([LOG], 0.0)
    assert judged(progress, 70.0, ready=False) == Report("acquiring", {}, None, 0.0, 70.0, 70.0, [], 0.0)


def test_to_be_ready_for_a_moment_again_and_again_is_no_progress_while_there_is_something_to_do() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 3)}, 0.0)
    for now in range(100):
        report = judged(progress, now, ready=now % 2 == 0)
    assert report.stalled_s == 99.0


def test_what_is_away_is_named_where_it_holds_something_up_and_its_time_does_not_count() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 0)}, 0.0)
    assert judged(progress, 1.0, missing=["postgres"]).state == "idle"
    progress.look({LOG: Bounds(0, 3)}, 2.0)
    for now in range(2, 100):
        report = judged(progress, now, missing=["postgres"])
        assert (report.state, report.blocked_by, report.stalled_s) == ("blocked", ["postgres"], 0.0)
    assert (report.blocked_s, report.lag) == (97.0, 3)
    report = judged(progress, 101.0)
    assert (report.state, report.stalled_s, report.blocked_by) == ("working", 2.0, [])
    assert judged(progress, 170.0).stalled_s == 71.0


def test_without_kafka_nobody_knows_whether_there_is_something_to_do() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 0)}, 0.0)
    assert judged(progress, 5.0, missing=["kafka"]).blocked_by == ["kafka"]


def test_a_freeze_of_the_whole_process_is_excused() -> None:
    progress = at_work()
    progress.look({LOG: Bounds(0, 3)}, 0.0)
    progress.excuse(900.0)
    assert judged(progress, 901.0).stalled_s == 1.0

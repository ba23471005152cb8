"""The drills' own parts that could make a drill blind: what the plan sends, and how standing still is read."""

import json
from collections import Counter
from datetime import UTC, datetime

from tests.drills.submissions import Plan, Submission, plan
from tests.drills.takeover import Fault, Written, stood_still_s

MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
SIZE = 10_000


def sent(of: Plan) -> list[Submission]:
    return [one for request in of.requests for one in request.submissions]


def test_a_plan_has_the_shares_that_it_promises() -> None:
    made = plan(SIZE, seed=1, midnight=MIDNIGHT)
    kinds = Counter(one.kind for one in sent(made))
    assert kinds == {"new": 9_300, "duplicate": 500, "conflict": 100, "revision": 100}
    assert (made.size, len(made.unique), len(made.conflicts)) == (SIZE, 9_400, 100)
    near = [one for one in sent(made) if one.kind == "new" and _seconds_from_midnight(one) <= 1]
    assert len(near) == 100
    assert {_day(one) for one in near} == {23, 24}


def test_a_repeat_has_the_bytes_of_its_original_and_a_conflict_has_its_id_on_the_other_day() -> None:
    submissions = sent(plan(SIZE, seed=2, midnight=MIDNIGHT))
    originals = {one.number: one for one in submissions if one.kind == "new"}
    for one in submissions:
        if one.kind == "duplicate":
            assert one.item == originals[one.original].item
        if one.kind == "conflict":
            original = originals[one.original]
            assert _name(one) == _name(original)
            assert _day(one) != _day(original)
        if one.kind == "revision":
            assert json.loads(one.item)["revision"] == 1


def test_a_conflict_waits_for_the_request_that_its_original_came_in() -> None:
    made = plan(SIZE, seed=3, midnight=MIDNIGHT)
    came_in = {
        one.number: index
        for index, request in enumerate(made.requests)
        for one in request.submissions
        if one.kind == "new"
    }
    for index, request in enumerate(made.requests):
        for one in request.submissions:
            if one.kind == "conflict":
                assert came_in[one.original] in request.after
        assert all(before < index for before in request.after)


def test_a_plan_that_is_cut_keeps_the_ends_of_its_matches() -> None:
    made = plan(SIZE, seed=4, midnight=MIDNIGHT)
    cut = made.cut(50)
    assert cut.requests[:50] == made.requests[:50]
    assert [json.loads(one.item)["type"] for one in sent(cut)[-16:]] == ["match_end"] * 16
    assert cut.size == len(sent(cut)) < SIZE
    assert len(cut.unique) == sum(one.kind in ("new", "revision") for one in sent(cut))


def test_standing_still_is_from_the_fault_or_the_last_event_to_the_first_event_behind_the_fence() -> None:
    rows = [Written(1_000, "event"), Written(2_000, "event"), Written(7_000, "fence"), Written(7_100, "marker")]
    killed = {0: [*rows, Written(7_200, "event"), Written(9_000, "event")], 1: [Written(1_000, "event")]}
    assert stood_still_s(killed, Fault(1_500, (0, 1))) == 5.2
    assert stood_still_s(killed, Fault(2_500, (0, 1))) == 4.7
    assert stood_still_s(killed, Fault(8_000, (0, 1))) == 0


def _name(one: Submission) -> tuple[str, str]:
    event = json.loads(one.item)
    return event["match_id"], event["source_event_id"]


def _occurred(one: Submission) -> datetime:
    return datetime.fromisoformat(json.loads(one.item)["occurred_at"])


def _day(one: Submission) -> int:
    return _occurred(one).day


def _seconds_from_midnight(one: Submission) -> float:
    return abs((_occurred(one) - MIDNIGHT).total_seconds())

"""The match sheet as a fold: what stands counts, whatever the order in which revisions came."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventhub.events import Event, Match, Team
from eventhub.ingest.adapters.wyscout import WyscoutAdapter
from eventhub.streams import sheet
from eventhub.streams.sheet import Fold, Seen, Sheet
from tests.support.feed import CARDS, SCORES, real_matches

MATCH = Match("m", Team("h", "Home"), Team("a", "Away"), datetime(2026, 7, 1, tzinfo=UTC))


def seen(kind: str, number: int = 0, **more: Any) -> Seen:
    fixed: dict[str, Any] = {
        "event_id": f"e{number}",
        "team_id": "h",
        "period": "first_half",
        "clock_s": 60.0 * number,
    }
    return Seen(type=kind, match_id="m", **(fixed | more))


def revised(kind: str, number: int, revision: int, **more: Any) -> Seen:
    return seen(
        kind, number, **({"event_id": f"e{number}r{revision}", "of": f"e{number}", "revision": revision} | more)
    )


def folded(*events: Seen) -> Sheet:
    fold = sheet.begin(MATCH)
    for event in events:
        sheet.apply(fold, event)
    return sheet.sheet(fold, MATCH)


def score(shown: Sheet) -> tuple[int, int]:
    return shown.home.score, shown.away.score


def seen_by_the_log(name: str) -> tuple[Match, list[Seen]]:
    """A real match through the adapter and the log's encoding."""
    match = next(m for m in real_matches() if m.name == name)
    sides = match.feed.declaration
    declared = Match(name, Team(**sides["home"]), Team(**sides["away"]), datetime(2026, 7, 1, tzinfo=UTC))
    found = []
    for _, _, record in match.feed.records:
        event = WyscoutAdapter().map(record, declared)
        value = msgspec.json.encode(
            Event(
                event_id=event.source_event_id or "",
                type=event.type,
                match_id=name,
                source="broadcast/wyscout",
                lane="normal",
                occurred_at=event.occurred_at,
                accepted_at=event.occurred_at,
                team_id=event.team_id,
                period=event.period,
                clock_s=event.clock_s,
                payload=msgspec.Raw(msgspec.json.encode(event.payload)),
            )
        )
        found.append(msgspec.json.decode(value, type=Seen))
    return declared, found


@pytest.mark.parametrize("name", SCORES)
def test_real_matches_end_with_their_real_scores_and_cards(name: str) -> None:
    match, events = seen_by_the_log(name)
    fold = sheet.begin(match)
    for event in events:
        sheet.apply(fold, event)
    shown = sheet.sheet(fold, match)
    assert score(shown) == SCORES[name]
    assert tuple((s.yellow_cards, s.red_cards) for s in (shown.home, shown.away)) == CARDS[name]
    assert sum(s.possession or 0 for s in (shown.home, shown.away)) == pytest.approx(100, abs=0.2)
    goals = [i for i in shown.incidents if i.type in ("goal", "own_goal")]
    assert len(goals) == sum(SCORES[name])


def test_an_own_goal_is_the_other_sides() -> None:
    assert score(folded(seen("own_goal", 1))) == (0, 1)


def test_a_second_yellow_is_a_yellow_card_and_a_red_one() -> None:
    home = folded(seen("yellow_card", 1), seen("second_yellow_card", 2), seen("red_card", 3)).home
    assert (home.yellow_cards, home.red_cards) == (2, 2)


@pytest.mark.parametrize("change", [{"kind": "shot"}, {"kind": "goal", "action": "delete"}])
def test_a_goal_that_is_taken_back_does_not_count_in_either_order(change: dict[str, Any]) -> None:
    kind = change.pop("kind")
    first, second = seen("goal", 1), revised(kind, 1, 1, **change)
    for order in ((first, second), (second, first)):
        shown = folded(*order)
        assert score(shown) == (0, 0)
        assert shown.incidents == []
        assert shown.home.shots == (1 if kind == "shot" else 0)
    assert score(folded(first, second, revised("goal", 1, 2))) == (1, 0)


def test_a_goal_given_to_the_other_side_by_a_revision_moves() -> None:
    assert score(folded(seen("goal", 1), revised("own_goal", 1, 1))) == (0, 1)
    assert score(folded(seen("shot", 1), revised("goal", 1, 1))) == (1, 0)


def test_a_goal_that_became_a_foul_does_not_count_even_if_that_is_heard_first() -> None:
    first, second = seen("goal", 1), revised("foul", 1, 1)
    for order in ((first, second), (second, first)):
        assert score(folded(*order)) == (0, 0)
        assert folded(*order).incidents == []


def test_a_lower_revision_that_comes_later_changes_nothing() -> None:
    fold = sheet.begin(MATCH)
    for event in (seen("goal", 1), revised("goal", 1, 3, team_id="a")):
        sheet.apply(fold, event)
    before = sheet.sheet(fold, MATCH)
    assert score(before) == (0, 1)
    for late in (revised("shot", 1, 2), revised("goal", 1, 1, action="delete"), seen("goal", 1)):
        assert sheet.apply(fold, late) == "other"
        shown = sheet.sheet(fold, MATCH)
        assert (score(shown), shown.incidents, shown.home.shots) == (score(before), before.incidents, 0)


def test_a_card_that_is_taken_back_or_changed_counts_as_it_stands() -> None:
    cards = [seen("red_card", 1), seen("yellow_card", 2)]
    home = folded(*cards, revised("yellow_card", 1, 1, action="update"), revised("foul", 2, 1, action="delete")).home
    assert (home.yellow_cards, home.red_cards) == (1, 0)


def test_incidents_stand_in_match_order_whatever_the_order_of_the_log() -> None:
    late = seen("goal", 10, player="Late")
    shown = folded(
        seen("red_card", 50, period="second_half"), seen("penalty_awarded", 20), seen("shot", 5), late, seen("foul", 1)
    )
    assert [i.type for i in shown.incidents] == ["goal", "penalty_awarded", "red_card"]
    assert (shown.incidents[0].event_id, shown.incidents[0].player, shown.incidents[0].team_id) == ("e10", "Late", "h")


def test_a_late_goal_counts_after_the_end_and_the_match_stays_final() -> None:
    end = seen("match_end", 94, period="second_half")
    shown = folded(seen("period_start", 0), end, seen("goal", 93, period="second_half"), revised("goal", 93, 1))
    assert (score(shown), shown.status, shown.clock_s) == ((1, 0), "final", 5640.0)


def test_possession_is_each_sides_share_of_the_actions_on_the_ball_as_first_sent() -> None:
    shown = folded(*[seen("pass", n) for n in range(3)], seen("touch", 4, team_id="a"), revised("pass", 4, 1))
    assert (shown.home.possession, shown.away.possession) == (75.0, 25.0)
    assert folded(seen("foul", 1)).home.possession is None


def test_a_period_end_or_match_end_that_is_taken_back_does_not_end_anything() -> None:
    fold = sheet.begin(MATCH)
    for event in (seen("period_start", 0), seen("period_end", 44), revised("period_end", 44, 1, action="delete")):
        sheet.apply(fold, event)
    assert fold.status == "live"
    for event in (seen("match_end", 45), revised("match_end", 45, 1, action="delete")):
        sheet.apply(fold, event)
    assert sheet.sheet(fold, MATCH).status == "live"
    sheet.apply(fold, revised("match_end", 45, 2, action="update"))
    assert sheet.sheet(fold, MATCH).status == "final"


def test_a_period_end_that_became_something_else_ends_nothing() -> None:
    shown = folded(seen("period_start", 0), seen("period_end", 44), revised("whistle", 44, 1, action="update"))
    assert shown.status == "live"


def test_an_event_that_is_taken_back_moves_neither_period_nor_clock() -> None:
    gone = revised("period_start", 45, 1, action="delete", period="second_half")
    shown = folded(seen("pass", 10), gone)
    assert (shown.status, shown.period, shown.clock_s) == ("live", "first_half", 600.0)


def test_at_the_same_second_incidents_stand_in_the_order_of_the_log_and_a_revision_keeps_its_place() -> None:
    shown = folded(seen("yellow_card", 1), seen("red_card", 2, clock_s=60.0), revised("yellow_card", 1, 1))
    assert [i.event_id for i in shown.incidents] == ["e1", "e2"]


def test_goals_of_a_shoot_out_count_for_the_shoot_out_alone() -> None:
    shots = [seen("goal", n, period="shootout", team_id="h" if n % 2 else "a") for n in range(1, 6)]
    shown = folded(seen("goal", 90), *shots, seen("shot", 9, period="shootout"))
    assert score(shown) == (1, 0)
    assert (shown.home.shootout, shown.away.shootout) == (3, 2)
    assert shown.home.shots == 1
    assert folded(seen("goal", 1)).home.shootout is None
    assert score(folded(seen("own_goal", 1, period="shootout"))) == (0, 0)


def test_status_and_clock_go_forward_only() -> None:
    fold = sheet.begin(MATCH)

    def after(*events: Seen) -> tuple[Any, ...]:
        for event in events:
            sheet.apply(fold, event)
        return fold.status, fold.period, fold.clock_s

    assert after() == ("scheduled", None, None)
    assert after(seen("period_start", 0)) == ("live", "first_half", 0.0)
    assert after(seen("pass", 10), seen("pass", 9)) == ("live", "first_half", 600.0)
    assert after(seen("period_end", 46)) == ("break", "first_half", 2760.0)
    assert after(seen("pass", 45)) == ("break", "first_half", 2760.0)
    second = {"period": "second_half"}
    assert after(seen("period_start", 45, **second)) == ("live", "second_half", 2700.0)
    assert after(seen("goal", 44), seen("period_end", 46)) == ("live", "second_half", 2700.0)
    assert after(seen("period_end", 94, **second)) == ("break", "second_half", 5640.0)
    assert after(seen("match_end", 94, event_id="end", **second)) == ("final", "second_half", 5640.0)
    assert after(seen("pass", 95, **second)) == ("final", "second_half", 5640.0)


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (seen("goal", 1), "key"),
        (seen("yellow_card", 1), "key"),
        (seen("period_start", 0), "key"),
        (seen("shot", 1, period=None), "other"),
        (seen("pass", 1, period=None), "other"),
        (seen("substitution", 1, period=None), "other"),
        (seen("state", 1), "none"),
        (seen("stats", 1), "none"),
        (seen("translation", 1), "none"),
        (seen("tracking_frame", 1), "none"),
        (seen("post", 1), "none"),
    ],
)
def test_what_an_event_changes(event: Seen, change: str) -> None:
    fold = sheet.begin(MATCH)
    assert sheet.apply(fold, event) == change
    assert change != "none" or fold == sheet.begin(MATCH)


@pytest.mark.parametrize(
    ("first", "second", "change"),
    [
        (seen("goal", 1), revised("shot", 1, 1), "key"),
        (seen("shot", 1), revised("goal", 1, 1), "key"),
        (seen("red_card", 1), revised("red_card", 1, 1, action="delete"), "key"),
        (seen("shot", 1), revised("shot", 1, 1, action="delete"), "other"),
        (seen("pass", 1), seen("pass", 2), "other"),
        (seen("pass", 1), seen("pass", 50, period="second_half"), "key"),
        (seen("pass", 1), seen("period_end", 45), "key"),
        (seen("pass", 50, period="second_half"), seen("period_end", 45), "other"),
        (seen("match_end", 90), seen("pass", 91, period="second_half"), "other"),
    ],
)
def test_what_an_event_changes_after_another(first: Seen, second: Seen, change: str) -> None:
    fold = sheet.begin(MATCH)
    sheet.apply(fold, first)
    assert sheet.apply(fold, second) == change


def test_the_same_revision_again_changes_nothing() -> None:
    fold = sheet.begin(MATCH)
    sheet.apply(fold, seen("goal", 1))
    assert sheet.apply(fold, seen("goal", 1)) == "other"
    assert score(sheet.sheet(fold, MATCH)) == (1, 0)


KINDS = ["goal", "own_goal", "shot", "yellow_card", "second_yellow_card", "red_card", "substitution", "foul", "touch"]
REVISION = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "action": st.sampled_from(["insert", "update", "delete"]),
        "team_id": st.sampled_from(["h", "a"]),
        "period": st.sampled_from(["first_half", "second_half", "shootout"]),
    }
)


@given(incidents=st.lists(st.lists(REVISION, min_size=1, max_size=4), min_size=1, max_size=4), data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_order_of_revisions_gives_the_same_sheet(incidents: list[Any], data: st.DataObject) -> None:
    events = [
        # Every revision has a second of its own: at the same second, incidents stand in the log's order.
        revised(number=n, revision=r, clock_s=60.0 * n + r, **fields) if r else seen(number=n, **fields)
        for n, revisions in enumerate(incidents)
        for r, fields in enumerate(revisions)
    ]
    one, other = folded(*events), folded(*data.draw(st.permutations(events)))
    assert one == other
    highest = [(revisions[-1]["kind"], revisions[-1]["action"]) for revisions in incidents]
    red = sum(kind in ("red_card", "second_yellow_card") and action != "delete" for kind, action in highest)
    assert one.home.red_cards + one.away.red_cards == red


@pytest.mark.parametrize("cut", [0, 1, 500, 1400])
def test_a_fold_that_was_stored_goes_on_as_if_it_had_not_been(cut: int) -> None:
    match, events = seen_by_the_log("2058003")
    whole, part = sheet.begin(match), sheet.begin(match)
    for event in events:
        sheet.apply(whole, event)
    for event in events[:cut]:
        sheet.apply(part, event)
    part = msgspec.json.decode(msgspec.json.encode(part), type=Fold)
    for event in events[cut:]:
        sheet.apply(part, event)
    assert part == whole
    assert sheet.sheet(part, match) == sheet.sheet(whole, match)


@pytest.mark.parametrize("cut", range(12))
def test_a_fold_that_was_stored_remembers_revisions_ends_and_periods(cut: int) -> None:
    second = {"period": "second_half"}
    events = [
        seen("period_start", 0),
        revised("shot", 7, 1),
        seen("goal", 7),
        seen("goal", 8),
        seen("period_end", 46),
        revised("goal", 8, 1, action="delete"),
        seen("period_start", 45, event_id="start", **second),
        seen("own_goal", 60, team_id="a", **second),
        seen("yellow_card", 61, **second),
        seen("match_end", 94, **second),
        revised("match_end", 94, 1, action="delete", **second),
        seen("match_end", 95, **second),
    ]
    fold = sheet.begin(MATCH)
    for event in events[:cut]:
        sheet.apply(fold, event)
    fold = msgspec.json.decode(msgspec.json.encode(fold), type=Fold)
    for event in events[cut:]:
        sheet.apply(fold, event)
    shown = sheet.sheet(fold, MATCH)
    assert shown == folded(*events)
    assert (score(shown), shown.home.shots, shown.home.yellow_cards, shown.status) == ((1, 0), 1, 1, "final")

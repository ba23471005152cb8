"""The Wyscout adapter: the counts of the six real files, coordinates, precedence, refusals."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import Incoming, Match, Team
from eventhub.ingest.adapters.wyscout import WyscoutAdapter
from tests.support.feed import real_matches

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
MATCH = Match("m1", Team("1", "Home"), Team("2", "Away"), START)
FIXED: dict[str, Any] = {
    "id": 7,
    "eventId": 8,
    "subEventId": 85,
    "teamId": 1,
    "playerId": 9,
    "matchPeriod": "1H",
    "eventSec": 61.5,
    "tags": [],
    "positions": [{"x": 50, "y": 50}],
}


def mapped(*tags: int, **changes: Any) -> Incoming:
    record = FIXED | {"tags": [{"id": tag} for tag in tags]} | changes
    return WyscoutAdapter().map(json.dumps(record).encode(), MATCH)


def test_the_six_files_map_to_the_counts_of_the_vocabulary() -> None:
    counts: Counter[tuple[str, str | None]] = Counter()
    for match in real_matches():
        sides = match.feed.declaration
        declared = Match(match.name, Team(**sides["home"]), Team(**sides["away"]), START)
        adapter = WyscoutAdapter()
        for _, _, record in match.feed.records:
            event = adapter.map(record, declared)
            counts[event.type, event.payload.get("sub_type")] += 1
    assert counts == {
        ("goal", None): 22,
        ("goal", "free_kick"): 3,
        ("goal", "penalty_kick"): 3,
        ("shot", None): 98,
        ("shot", "free_kick"): 9,
        ("shot", "penalty_kick"): 1,
        ("own_goal", None): 1,
        ("save", "save"): 30,
        ("save", "save_attempt"): 23,
        ("second_yellow_card", None): 1,
        **{k: v for k, v in counts.items() if k[0] in ("yellow_card", "foul")},
        ("pass", None): 5504 - 148,
        ("pass", "cross"): 148,
        ("pass", "corner_kick"): 51,
        ("pass", "free_kick"): 141,
        ("pass", "goal_kick"): 100,
        ("pass", "throw_in"): 227,
        ("duel", "aerial"): 418,
        ("duel", "ground"): 1432,
        ("duel", "loose_ball"): 339,
        ("clearance", None): 155,
        ("offside", None): 18,
        ("carry", None): 94,
        ("touch", None): 528,
        ("keeper_leaving_line", None): 12,
    }
    assert sum(n for (kind, _), n in counts.items() if kind == "yellow_card") == 18
    assert sum(n for (kind, _), n in counts.items() if kind == "foul") == 155
    assert counts.total() == 9383


@pytest.mark.parametrize(
    ("team", "percent", "metres"),
    [
        (1, (0, 0), (-52.5, 34)),
        (1, (100, 100), (52.5, -34)),
        (2, (0, 0), (52.5, -34)),
        (2, (100, 100), (-52.5, 34)),
        (1, (75, 50), (26.25, 0)),
    ],
)
def test_coordinates_are_metres_and_the_home_side_attacks_to_the_right(
    team: int, percent: tuple[int, int], metres: tuple[float, float]
) -> None:
    event = mapped(teamId=team, positions=[{"x": percent[0], "y": percent[1]}] * 2)
    assert (event.payload["x"], event.payload["y"]) == metres
    assert (event.payload["end_x"], event.payload["end_y"]) == metres


@pytest.mark.parametrize(("period", "base_s"), [("1H", 0), ("2H", 2700), ("E1", 5400), ("E2", 6300), ("P", 7200)])
def test_it_occurred_at_the_start_plus_the_periods_base_plus_its_second(period: str, base_s: int) -> None:
    event = mapped(matchPeriod=period)
    assert event.clock_s == base_s + 61.5
    assert event.occurred_at == START + timedelta(seconds=base_s + 61.5)
    assert event.source_event_id == "7"


@pytest.mark.parametrize(
    ("tags", "sub_event", "kind"),
    [
        ((102, 101, 1702), 72, "own_goal"),
        ((101, 1702), 100, "goal"),
        ((1701, 1703, 1702), 20, "red_card"),
        ((1703, 1702), 20, "second_yellow_card"),
        ((1702,), 20, "yellow_card"),
        ((), 20, "foul"),
        ((101,), 90, "save"),
        ((1501,), 999, "clearance"),
        ((1401,), 999, "interception"),
    ],
)
def test_the_strongest_thing_that_is_said_is_the_type(tags: tuple[int, ...], sub_event: int, kind: str) -> None:
    assert mapped(*tags, subEventId=sub_event).type == kind


@pytest.mark.parametrize(
    ("record", "code", "pointer"),
    [
        (json.dumps(FIXED | {"subEventId": 999}).encode(), "unmapped", "/subEventId"),
        (json.dumps(FIXED | {"matchPeriod": "3H"}).encode(), "unknown_period", "/matchPeriod"),
        (json.dumps({"id": 1}).encode(), "malformed", ""),
        (b'{"id": NaN}', "malformed", ""),
        (b"[" * 100_000, "malformed", ""),
    ],
)
def test_a_record_that_cannot_be_mapped_is_refused_with_its_place(record: bytes, code: str, pointer: str) -> None:
    with pytest.raises(RejectedError) as caught:
        WyscoutAdapter().map(record, MATCH)
    assert (caught.value.name, caught.value.pointer) == (code, pointer)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"events": [], "teams": {}, "players": {}}', b"\x1f\x8bbroken"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(content)
    with pytest.raises(MalformedError, match=r"other\.json"):
        WyscoutAdapter().read(file)


def test_a_file_is_read_with_sides_players_and_periods_and_the_providers_own_bytes() -> None:
    match = next(m for m in real_matches() if m.name == "2058003")
    assert match.feed.declaration["home"] == {"id": "4418", "name": "France"}
    names = {p["name"] for p in match.feed.declaration["players"] if p["team_id"] == "4418"}
    assert {"A. Griezmann", "K. Mbapp\u00e9", "H. Lloris"} <= names
    assert [p[:2] for p in match.feed.periods] == [("first_half", 0.0), ("second_half", 2700.0)]
    assert len(match.feed.records) == 1426
    assert all(json.loads(record)["matchId"] == 2058003 for _, _, record in match.feed.records)

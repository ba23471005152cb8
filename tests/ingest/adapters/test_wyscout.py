"""The Wyscout adapter: the counts of the six real files, coordinates, precedence, refusals."""

import gzip
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


@pytest.fixture(scope="module")
def real() -> list[tuple[dict[str, Any], Incoming]]:
    """Every record of the six files with its event."""
    found = []
    for match in real_matches():
        sides = match.feed.declaration
        declared = Match(match.name, Team(**sides["home"]), Team(**sides["away"]), START)
        adapter = WyscoutAdapter()
        found += [(json.loads(record), adapter.map(record, declared)) for _, _, record in match.feed.records]
    return found


def test_the_six_files_map_to_the_counts_of_the_vocabulary(real: list[tuple[dict[str, Any], Incoming]]) -> None:
    counts = Counter((event.type, event.payload.get("sub_type")) for _, event in real)
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


def test_a_save_attempt_with_the_goals_tag_is_a_save_and_the_own_goal_is_a_touch(
    real: list[tuple[dict[str, Any], Incoming]],
) -> None:
    beaten = [e for r, e in real if r["subEventId"] in (90, 91) and {"id": 101} in r["tags"]]
    assert len(beaten) == 29
    assert {event.type for event in beaten} == {"save"}
    assert [r["subEventName"] for r, e in real if e.type == "own_goal"] == ["Touch"]


def test_the_golden_records_have_everything_that_the_six_files_map_to(
    real: list[tuple[dict[str, Any], Incoming]],
) -> None:
    golden = json.loads((Path(__file__).parent / "golden" / "wyscout.json").read_text())["pairs"]
    assert len(golden) >= 25
    kept = {(p["event"]["type"], p["event"]["payload"].get("sub_type")) for p in golden}
    assert {(event.type, event.payload.get("sub_type")) for _, event in real} - kept == set()


@pytest.mark.parametrize(
    ("team", "percent", "metres"),
    [
        (1, (0, 0), (-52.5, 34)),
        (1, (100, 100), (52.5, -34)),
        (2, (0, 0), (52.5, -34)),
        (2, (100, 100), (-52.5, 34)),
        (1, (0, 100), (-52.5, -34)),
        (1, (100, 0), (52.5, 34)),
        (2, (75, 60), (-26.25, 6.8)),
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
        ((101,), 85, "pass"),
        ((102,), 999, "own_goal"),
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
        (json.dumps(FIXED | {"eventSec": 1e300}).encode(), "number_range", "/eventSec"),
        (json.dumps(FIXED | {"eventSec": 20_000.1}).encode(), "number_range", "/eventSec"),
        (json.dumps(FIXED | {"matchPeriod": "2H", "eventSec": -1}).encode(), "number_range", "/eventSec"),
        (json.dumps(FIXED | {"positions": [{"x": "left"}]}).encode(), "malformed", "/positions/0/x"),
        (json.dumps(FIXED | {"positions": [{"x": 1e300, "y": 0}]}).encode(), "number_range", "/positions/0/x"),
        (json.dumps(FIXED | {"id": 10**300}).encode(), "number_range", "/id"),
        (json.dumps(FIXED | {"id": 2**63}).encode(), "number_range", "/id"),
        (json.dumps(FIXED).encode().replace(b"1H", b"\xff"), "malformed", ""),
        (b"", "malformed", ""),
        (b'{"id": NaN}', "malformed", ""),
        (b"[" * 100_000, "malformed", ""),
    ],
)
def test_a_record_that_cannot_be_mapped_is_refused_with_its_place(record: bytes, code: str, pointer: str) -> None:
    with pytest.raises(RejectedError) as caught:
        WyscoutAdapter().map(record, MATCH)
    assert (caught.value.name, caught.value.pointer) == (code, pointer)


@pytest.mark.parametrize(
    ("tag", "sub_event", "field", "value"),
    [
        (301, 85, "assist", True),
        (302, 85, "key_pass", True),
        (401, 100, "body_part", "left_foot"),
        (402, 100, "body_part", "right_foot"),
        (403, 100, "body_part", "head"),
        (1601, 13, "tackle", True),
        (1901, 72, "counter_attack", True),
        (1801, 85, "accurate", True),
        (1802, 85, "accurate", False),
        (703, 10, "outcome", "won"),
        (701, 10, "outcome", "lost"),
        (702, 10, "outcome", "neutral"),
        (1201, 100, "outcome", "on_target"),
        (1209, 100, "outcome", "on_target"),
        (1210, 100, "outcome", "wide"),
        (1216, 100, "outcome", "wide"),
        (1217, 100, "outcome", "woodwork"),
        (1223, 100, "outcome", "woodwork"),
        (2101, 100, "outcome", "blocked"),
    ],
)
def test_a_tag_says_its_field(tag: int, sub_event: int, field: str, value: object) -> None:
    without = mapped(subEventId=sub_event).payload
    assert field not in without
    assert mapped(tag, subEventId=sub_event).payload == without | {field: value}


def test_a_goal_is_its_own_outcome() -> None:
    assert "outcome" not in mapped(101, 1205, subEventId=100).payload


SIDES = {"1": {"team": {"name": "Home"}}, "2": {"team": {"name": "Away"}}}
FILE: dict[str, Any] = {"events": [FIXED], "teams": SIDES, "players": {}}


def test_a_small_file_is_read_gzipped_or_not(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.json", tmp_path / "zipped.json.gz"
    plain.write_text(json.dumps(FILE))
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    feed = WyscoutAdapter().read(plain)
    assert feed == WyscoutAdapter().read(zipped)
    assert feed.records == [("first_half", 61.5, json.dumps(FIXED).encode())]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"events": [], "teams": {}, "players": {}}',
        b"\x1f\x8bbroken",
        gzip.compress(json.dumps(FILE).encode(), mtime=0)[:40],
        b'{"events": ' + b"[" * 100_000,
        json.dumps(FILE).encode().replace(b"Home", b"\xff"),
        json.dumps(FILE | {"teams": {"1": {}, "2": {}}}).encode(),
        json.dumps(FILE | {"teams": SIDES | {"2": {"team": {"name": 5}}}}).encode(),
        json.dumps(FILE | {"teams": {"1": SIDES["1"]}}).encode(),
        json.dumps(FILE | {"players": {"1": [{}]}}).encode(),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(content)
    with pytest.raises(MalformedError, match=r"other\.json"):
        WyscoutAdapter().read(file)


@pytest.mark.parametrize("broken", [FIXED | {"matchPeriod": "3H"}, {"id": 1}])
def test_a_file_with_a_broken_event_names_the_event(tmp_path: Path, broken: dict[str, Any]) -> None:
    file = tmp_path / "other.json"
    file.write_text(json.dumps(FILE | {"events": [FIXED, broken]}))
    with pytest.raises(MalformedError, match=r"other\.json, event 1"):
        WyscoutAdapter().read(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"none\.json"):
        WyscoutAdapter().read(tmp_path / "none.json")


def test_a_file_is_read_with_sides_players_and_periods_and_the_providers_own_bytes() -> None:
    match = next(m for m in real_matches() if m.name == "2058003")
    assert match.feed.declaration["home"] == {"id": "4418", "name": "France"}
    names = {p["name"] for p in match.feed.declaration["players"] if p["team_id"] == "4418"}
    assert {"A. Griezmann", "K. Mbapp\u00e9", "H. Lloris"} <= names
    assert [p[:2] for p in match.feed.periods] == [("first_half", 0.0), ("second_half", 2700.0)]
    assert len(match.feed.records) == 1426
    assert all(json.loads(record)["matchId"] == 2058003 for _, _, record in match.feed.records)

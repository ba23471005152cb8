"""The Last Row adapter: the real goal makes sense in metres, both ways round; missing values, refusals, files."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import Incoming, Match, Player, Team
from eventhub.ingest.adapters import Feed
from eventhub.ingest.adapters.lastrow import LastRowAdapter

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
HEADER = "player,frame,x,y,z,dx,dy,coords,player_num,player_obj,team,num,name,edgecolor,bgcolor"
BALL = {"player": "0", "x": 10, "y": 60, "z": 0}
STRIKER = {"player": "12", "x": 20, "y": 70, "team": "attack"}
KEEPER = {"player": "14", "x": 2, "y": 50, "team": "defense"}
FRAME: dict[str, Any] = {"frame": 30, "goal_x": 0, "rows": [BALL, STRIKER, KEEPER]}
MATCH = Match("m1", Team("attack", "Red"), Team("defense", "Blue"), START)


def mapped(match: Match = MATCH, **changes: Any) -> Incoming:
    return LastRowAdapter().map(json.dumps(FRAME | changes).encode(), match)


@pytest.fixture(scope="module")
def real() -> Feed:
    """The goal of the sample data."""
    folder = Path(__file__).parents[4] / "shared" / "data" / "sensors"
    assert folder.is_dir(), "the sample is expected beside the repository (shared/data/sensors)"
    return LastRowAdapter().read(folder / "liverpool-chelsea-2019-goal2.csv.gz")


@pytest.fixture(scope="module")
def goal(real: Feed) -> list[Incoming]:
    """Its 195 frames in a match as the file declares it."""
    told = json.dumps(real.declaration | {"match_id": "m1", "starts_at": START.isoformat()})
    match = msgspec.json.decode(told, type=Match)
    return [LastRowAdapter().map(record, match) for _, _, record in real.records]


def test_the_file_is_195_frames_of_two_sides(real: Feed) -> None:
    assert real.declaration["home"] == {"id": "attack", "name": "Red"}
    assert real.declaration["away"] == {"id": "defense", "name": "Blue"}
    assert len(real.declaration["players"]) == 20
    assert {"id": "12", "name": "Red 10", "team_id": "attack"} in real.declaration["players"]
    assert {"id": "14238", "name": "Blue 14238", "team_id": "defense"} in real.declaration["players"]
    assert [at_s for _, at_s, _ in real.records] == [n / 20 for n in range(195)]
    assert real.periods == [] and not real.dated
    assert max(len(record) for *_, record in real.records) < 2000


def test_the_ball_goes_into_the_goal_that_the_home_side_attacks(goal: list[Incoming]) -> None:
    balls = [event.payload["ball"] for event in goal]
    assert balls[0] == [7.36, -32.46]
    x, y = balls[-1]
    assert 52.5 < x < 54 and abs(y) < 7.32 / 2
    in_the_net = [n for n, (x, y) in enumerate(balls) if x > 52.5]
    assert in_the_net == list(range(in_the_net[0], 195))
    assert all(abs(y) < 7.32 / 2 for _, y in balls[in_the_net[0] :])


def test_the_goalkeeper_stands_before_that_goal_and_the_scorer_has_the_ball_at_the_shot(goal: list[Incoming]) -> None:
    for event in goal:
        places = {who: (x, y) for who, x, y in event.payload["players"]}
        assert len(places) == 20
        assert 50 < places["14238"][0] < 52.5 and abs(places["14238"][1]) < 5
    shot = min(goal[140:170], key=lambda event: event.payload["ball"][0])
    x, y = shot.payload["ball"]
    who, nearest_x, nearest_y = min(shot.payload["players"], key=lambda p: (p[1] - x) ** 2 + (p[2] - y) ** 2)
    assert who == "12" and (nearest_x - x) ** 2 + (nearest_y - y) ** 2 < 2**2


def test_nobody_runs_faster_than_people_do(goal: list[Incoming]) -> None:
    for before, after in zip(goal, goal[20:], strict=False):
        old = {who: (x, y) for who, x, y in before.payload["players"]}
        for who, x, y in after.payload["players"]:
            assert (x - old[who][0]) ** 2 + (y - old[who][1]) ** 2 < 12**2


def test_a_frame_is_numbered_and_timed_from_the_files_beginning() -> None:
    event = mapped()
    assert (event.type, event.source_event_id, event.period, event.clock_s) == (
        "tracking_frame",
        "30",
        "first_half",
        1.5,
    )
    assert event.occurred_at == START + timedelta(seconds=1.5)
    assert event.team_id is None and event.player_id is None


TURNED = {"ball": [42.0, -6.8], "players": [["12", 31.5, -13.6], ["14", 50.4, 0.0]]}
AS_IT_IS = {"ball": [-42.0, 6.8], "players": [["12", -31.5, 13.6], ["14", -50.4, 0.0]]}
OTHERS = (Team("7", "Seven"), Team("8", "Eight"))


@pytest.mark.parametrize(
    ("match", "goal_x", "payload"),
    [
        (MATCH, 0, TURNED),
        (MATCH, 100, AS_IT_IS),
        (Match("m1", MATCH.away, MATCH.home, START), 0, AS_IT_IS),
        (Match("m1", MATCH.away, MATCH.home, START), 100, TURNED),
        (Match("m1", *OTHERS, START, [Player("12", "Striker", "7")]), 0, TURNED),
        (Match("m1", *OTHERS, START, [Player("14", "Keeper", "8")]), 0, TURNED),
        (Match("m1", *OTHERS, START, [Player("12", "Striker", "8")]), 0, AS_IT_IS),
        (Match("m1", *OTHERS, START, [Player("14", "Keeper", "7")]), 0, AS_IT_IS),
    ],
)
def test_the_home_side_attacks_to_the_right_whoever_it_is(match: Match, goal_x: int, payload: Any) -> None:
    assert mapped(match, goal_x=goal_x).payload == payload


def test_where_nobody_knows_which_side_attacks_the_frame_is_refused() -> None:
    with pytest.raises(RejectedError, match="which side attacks") as caught:
        mapped(Match("m1", *OTHERS, START))
    assert (caught.value.name, caught.value.pointer) == ("unknown_team", "/rows")


@pytest.mark.parametrize(
    ("rows", "payload"),
    [
        ([STRIKER], {"players": [["12", 31.5, -13.6]]}),
        ([BALL], {"players": [], "ball": [42.0, -6.8]}),
        ([{"player": "0"}, STRIKER], {"players": [["12", 31.5, -13.6]]}),
        ([BALL, {"player": "12", "x": 20, "y": None, "team": "attack"}], {"players": [], "ball": [42.0, -6.8]}),
        (
            [BALL, BALL, {"player": 12, "x": 50, "y": 50, "team": "attack"}],
            {"players": [["12", 0.0, 0.0]], "ball": [42.0, -6.8]},
        ),
    ],
)
def test_who_was_not_measured_is_left_out(rows: Any, payload: Any) -> None:
    assert mapped(rows=rows).payload == payload


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"rows": []}, "unmapped", "/rows"),
        ({"rows": [{"player": "12", "team": "attack"}]}, "unmapped", "/rows"),
        ({"rows": [STRIKER, STRIKER | {"x": 1}]}, "malformed", "/rows/1"),
        ({"rows": [STRIKER, BALL, BALL | {"x": 1}]}, "malformed", "/rows/2"),
        ({"rows": [STRIKER, BALL | {"y": -51}]}, "number_range", "/rows/1/y"),
        ({"rows": [BALL | {"x": 151}]}, "number_range", "/rows/0/x"),
        ({"rows": [BALL | {"x": "left"}]}, "malformed", "/rows/0/x"),
        ({"rows": [BALL | {"team": "referee"}]}, "malformed", "/rows/0/team"),
        ({"rows": [{"x": 1, "y": 1}]}, "malformed", "/rows/0"),
        ({"rows": {}}, "malformed", "/rows"),
        ({"goal_x": 50}, "malformed", "/goal_x"),
        ({"frame": -1}, "number_range", "/frame"),
        ({"frame": 1.5}, "malformed", "/frame"),
        ({"frame": 400_001}, "number_range", "/frame"),
    ],
)
def test_a_frame_that_cannot_be_taken_is_refused_with_its_place(changes: Any, code: str, pointer: str) -> None:
    with pytest.raises(RejectedError) as caught:
        mapped(**changes)
    assert (caught.value.name, caught.value.pointer) == (code, pointer)


def row(player: str, frame: str, x: str, y: str, team: str, z: str = "") -> str:
    return f"{player},{frame},{x},{y},{z},0,0,,,{player},{team},,,white,red"


SMALL = [
    HEADER,
    row("0", "0", "50", "50", "", "0.1"),
    row("12.0", "0", "40", "40", "attack"),
    row("3", "0", "1", "50", "defense"),
]


def written(folder: Path, *rows: str) -> Path:
    file = folder / "goal.csv"
    file.write_text("\n".join(rows))
    return file


def test_a_file_is_read_gzipped_or_not_with_frames_in_order_and_gaps_left_out(tmp_path: Path) -> None:
    gaps = [
        row("0", "2", "97", "50", "", "nan"),
        row("12", "1", "NaN", "", "attack"),
        row("3", "1", "inf", "50", "defense"),
    ]
    plain, zipped = written(tmp_path, *SMALL, *gaps), tmp_path / "goal.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    feed = LastRowAdapter().read(plain)
    assert feed == LastRowAdapter().read(zipped)
    assert [(at_s, json.loads(record)) for _, at_s, record in feed.records] == [
        (
            0.0,
            {
                "frame": 0,
                "goal_x": 100,
                "rows": [
                    {"player": "0", "x": 50.0, "y": 50.0, "z": 0.1},
                    {"player": "12", "x": 40.0, "y": 40.0, "team": "attack"},
                    {"player": "3", "x": 1.0, "y": 50.0, "team": "defense"},
                ],
            },
        ),
        (
            0.05,
            {
                "frame": 1,
                "goal_x": 100,
                "rows": [{"player": "12", "team": "attack"}, {"player": "3", "y": 50.0, "team": "defense"}],
            },
        ),
        (0.1, {"frame": 2, "goal_x": 100, "rows": [{"player": "0", "x": 97.0, "y": 50.0}]}),
    ]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "no column player, frame"),
        ([HEADER.replace("team", "side"), *SMALL[1:]], "no column team"),
        ([HEADER], "has no ball"),
        (SMALL[:1] + SMALL[2:], "has no ball"),
        (SMALL[:3], "has the sides attack"),
        ([*SMALL, row("4", "x", "1", "1", "attack")], "line 5"),
        ([*SMALL, row("4", "1", "one", "1", "attack")], "line 5"),
        ([*SMALL, row("4", "1", "1", "1", "referee")], "line 5"),
        ([*SMALL, row("", "1", "1", "1", "attack")], "line 5"),
        ([*SMALL, row("4", "-1", "1", "1", "attack")], "line 5"),
        ([*SMALL, "4,1"], "line 5"),
    ],
)
def test_a_file_that_is_none_is_named_with_the_line(tmp_path: Path, rows: list[str], told: str) -> None:
    with pytest.raises(MalformedError, match=rf"goal\.csv.*{told}"):
        LastRowAdapter().read(written(tmp_path, *rows))


def test_a_file_that_is_not_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "goal.csv").write_bytes(b"player,frame\n\xff\xfe")
    for name in ("goal.csv", "none.csv"):
        with pytest.raises(MalformedError, match=name):
            LastRowAdapter().read(tmp_path / name)

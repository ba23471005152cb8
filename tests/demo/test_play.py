"""The generated match is the seed's alone, plausible to who watches football, and has everything that it promises."""

import itertools
import math
from collections import Counter

import msgspec

from eventhub import demo
from eventhub.events import PERIODS, TYPES, Incoming
from eventhub.streams import sheet
from tests.demo.told import (
    FOULS,
    KICKS,
    REGULAR,
    SET_PIECES,
    SOME,
    START,
    SUB_TYPES,
    Event,
    Told,
    folded,
    goals,
    place,
    read,
)


def test_a_seed_is_a_match_and_others_are_other_clubs_scores_courses_and_endings(several: list[Told]) -> None:
    assert read(demo.generate(SOME[0])) == several[0]
    assert len({team for told in several for team in told.teams}) >= 9
    assert len({told.teams for told in several}) >= 10
    assert len({told.made.told.home.score for told in several}) >= 3
    courses = {tuple(e["type"] for e in told.said if e["type"] in sheet.SHOWN - {"substitution"}) for told in several}
    assert len(courses) >= 11
    kinds = [{e["type"] for e in told.stands} for told in several]
    assert any("red_card" in k for k in kinds) and any("second_yellow_card" in k for k in kinds)
    kicks = [sum(e["period"] == "shootout" and e["type"] in ("goal", "shot") for e in told.said) for told in several]
    assert min(kicks) < 10 < max(kicks), "some are over before ten kicks, some go to sudden death"


def test_forwards_score_and_the_others_foul(several: list[Told]) -> None:
    roles: dict[str, Counter[str]] = {"goal": Counter(), "foul": Counter(), "shot": Counter()}
    for told in several:
        for event in told.said:
            if event["type"] in roles and event["period"] != "shootout":
                roles[event["type"]][told.made.roles[event["player_id"]]] += 1
    assert roles["goal"]["forward"] > roles["goal"].total() / 2
    assert roles["foul"]["defender"] + roles["foul"]["midfielder"] > 0.75 * roles["foul"].total()
    assert roles["goal"]["keeper"] == roles["foul"]["keeper"] == roles["shot"]["keeper"] == 0


def test_names_are_of_several_languages_and_nobody_shares_one(told: Told) -> None:
    players = told.made.declaration["players"]
    families = [p["name"].split(" ", 1)[1] for p in players]
    assert len(set(families)) == len(players) == 40
    assert sum(not p["name"].isascii() for p in players) >= 5
    assert Counter(told.made.roles.values())["keeper"] == 4


def test_every_event_is_of_the_vocabulary(told: Told) -> None:
    for item in told.made.items:
        event = msgspec.convert(demo.body(item, match_id="m", starts_at=START, now=START), Incoming)
        kind = TYPES[event.type]
        assert item.source in kind.sources
        allowed = set(kind.payload) | ({"sub_type"} & event.payload.keys() if event.type in SUB_TYPES else set())
        assert event.payload.keys() <= allowed, event
        assert event.payload.get("sub_type") in SUB_TYPES.get(event.type, set()) | {None}, event
        for axis, most in (("x", 52.5), ("end_x", 52.5), ("y", 34), ("end_y", 34)):
            assert abs(event.payload.get(axis, 0)) <= most


def test_the_clock_runs_forward_within_each_period(told: Told) -> None:
    for before, after in itertools.pairwise(told.said):
        if before["period"] == after["period"]:
            assert before["clock_s"] <= after["clock_s"]
    for event in told.said:
        period = PERIODS[event["period"]]
        stoppage_s = 1200 if period.name == "shootout" else 600
        assert period.begins_s <= event["clock_s"] <= period.begins_s + period.length_s + stoppage_s
    assert [e["period"] for e in told.said if e["type"] == "period_start"] == list(PERIODS)


def test_players_act_for_their_side_and_only_while_they_are_on_the_pitch(told: Told) -> None:
    team_of = {p["id"]: p["team_id"] for p in told.made.declaration["players"]}
    ids = list(team_of)
    on_pitch = {*ids[:11], *ids[20:31]}
    for event in told.said:
        player = event.get("player_id")
        if player is not None:
            assert team_of[player] == event["team_id"]
            assert player in on_pitch, event
        if event["type"] == "substitution":
            assert event["payload"]["player_out_id"] == player
            on_pitch = on_pitch - {player} | {event["payload"]["player_in_id"]}
        elif event["type"] in ("second_yellow_card", "red_card"):
            on_pitch -= {player}
    assert len(on_pitch) == 21


def test_each_action_begins_where_the_last_one_ended_and_restarts_where_the_laws_say(told: Told) -> None:
    ball, before = (0.0, 0.0), told.said[0]
    for event in told.said:
        payload = event["payload"]
        if event["type"] == "period_start":
            ball = (0.0, 0.0)
        elif "x" in payload:
            if payload.get("sub_type") in SET_PIECES or place(event) == (0, 0):
                _restarts(told, event, before, ball)
            else:
                assert place(event) == ball, event
            ball = payload.get("end_x", payload["x"]), payload.get("end_y", payload["y"])
        if event["type"] not in ("substitution", "var_review"):
            before = event


def _restarts(told: Told, event: Event, before: Event, ball: tuple[float, float]) -> None:
    (x, y), forward, kind = place(event), told.forward(event), event["payload"].get("sub_type")
    before_it: dict[str | None, tuple[str, ...]] = {
        "throw_in": ("ball_out",),
        "corner_kick": ("ball_out",),
        "goal_kick": ("ball_out",),
    }
    before_it |= {"free_kick": (*FOULS, "offside", "goal", "save"), "penalty_kick": (*KICKS, "penalty_awarded")}
    assert before["type"] in before_it.get(kind, ("period_start", "goal", "own_goal", "save")), event
    if before["type"] == "ball_out":
        assert before["team_id"] != event["team_id"]
    at_its_place = {
        "throw_in": abs(y) == 34 and (x, y) == ball,
        "corner_kick": ball[0] == x and (x, abs(y)) == (52.5 * forward, 34),
        "goal_kick": ball[0] == -52.5 * forward and -47 * forward == x and abs(y) <= 9.2,
        # After a goal was taken back from where it was shot.
        "free_kick": (x, y) == ball or before["type"] in ("goal", "save"),
        "penalty_kick": (x, y) == (41.5 * forward, 0),
        None: (x, y) == (0, 0),
    }
    assert at_its_place[kind], event


def test_each_period_begins_and_every_goal_of_a_move_is_followed_by_a_kick_off(told: Told) -> None:
    in_play = [e for e in told.said if e["type"] not in ("substitution", "save") and e["period"] != "shootout"]
    stands = {e["source_event_id"]: e["type"] for e in told.stands}
    first = []
    for before, after in itertools.pairwise(in_play):
        if before["type"] == "period_start":
            first.append(after["team_id"])
            assert (after["type"], place(after)) == ("pass", (0, 0))
        elif before["type"] in ("goal", "own_goal") and stands[before["source_event_id"]] != "shot":
            conceded = before["team_id"] if before["type"] == "own_goal" else told.rival(before["team_id"])
            assert (after["type"], place(after), after["team_id"]) == ("pass", (0, 0), conceded)
            assert 38 <= after["clock_s"] - before["clock_s"] <= 62
        if after["type"] == "goal" and "sub_type" not in after["payload"]:
            assert (before["type"] in ("pass", "carry"), before["team_id"]) == (True, after["team_id"]), "a move"
    assert first == [first[0], told.rival(first[0])] * 2


def test_numbers_are_those_of_football(told: Told) -> None:
    for team in told.teams:
        mine = [e for e in told.stands if e.get("team_id") == team and e["period"] in REGULAR]
        kinds = Counter(e["type"] for e in mine)
        passes = [e["payload"] for e in mine if e["type"] == "pass"]
        assert 350 <= len(passes) <= 650
        assert 0.75 <= sum(p["accurate"] for p in passes) / len(passes) <= 0.9
        assert 8 <= kinds["shot"] + kinds["goal"] <= 20
        assert 8 <= sum(kinds[kind] for kind in FOULS) <= 18
        assert 3 <= sum(p.get("sub_type") == "corner_kick" for p in passes) <= 9
        lengths = [math.dist((p["x"], p["y"]), (p["end_x"], p["end_y"])) for p in passes]
        assert 11 <= sum(lengths) / len(lengths) <= 22
        assert min(kinds["carry"], kinds["touch"], kinds["interception"]) > 5
    assert {"clearance", "save", "ball_out"} <= {e["type"] for e in told.said}


def test_shots_come_from_plausible_places_and_end_as_they_say(told: Told) -> None:
    for event in told.stands:
        if event["type"] in ("shot", "goal"):
            payload, goal_x = event["payload"], 52.5 * told.forward(event)
            assert math.dist(place(event), (goal_x, 0)) <= 32
            at_goal = payload["end_x"] == goal_x and abs(payload["end_y"]) < 3.66
            assert at_goal == (event["type"] == "goal" or event.get("revision") == 1), event
            if payload.get("outcome") == "wide":
                assert payload["end_x"] == goal_x and abs(payload["end_y"]) > 3.66


def test_duels_come_in_pairs_of_a_winner_and_a_loser(told: Told) -> None:
    duels = [e for e in told.said if e["type"] == "duel"]
    for one, other in zip(duels[::2], duels[1::2], strict=True):
        assert one["team_id"] != other["team_id"] and place(one) == place(other)
        assert {one["payload"]["outcome"], other["payload"]["outcome"]} in ({"won", "lost"}, {"neutral"})
    assert {e["payload"]["outcome"] for e in duels} == {"won", "lost", "neutral"}


def test_it_has_every_incident_that_is_promised(told: Told) -> None:
    kinds = Counter(e["type"] for e in told.stands)
    for kind in ("own_goal", "var_review", "penalty_awarded", "match_end"):
        assert kinds[kind] == 1, kind
    assert kinds["red_card"] + kinds["second_yellow_card"] == 1
    assert kinds["yellow_card"] >= 2
    changes = Counter(e["team_id"] for e in told.stands if e["type"] == "substitution")
    assert all(3 <= changes[team] <= 5 for team in told.teams)
    taken_back = [e for e in told.stands if e["type"] == "shot" and e.get("revision")]
    assert len(taken_back) == 1 and taken_back[0]["action"] == "update"
    second = next((e["player_id"] for e in told.stands if e["type"] == "second_yellow_card"), None)
    booked = Counter(e["player_id"] for e in told.stands if e["type"] == "yellow_card")
    assert second is None or booked[second] == 1
    assert max(booked.values()) == 1


def test_it_is_level_after_90_and_after_120_minutes_and_decided_by_kicks(told: Told) -> None:
    home, away = told.teams
    regular, extra = goals(told, *REGULAR), goals(told, "first_half_extratime", "second_half_extratime")
    assert regular[home] == regular[away] >= 1
    assert extra[home] == extra[away]
    kicks = goals(told, "shootout")
    assert kicks[home] != kicks[away]


def test_the_sheet_that_follows_from_its_items_is_the_story(told: Told) -> None:
    shown = folded(told.made)
    assert shown.status == "final"
    for side, result in ((shown.home, told.made.told.home), (shown.away, told.made.told.away)):
        assert (side.score, side.shootout, side.yellow_cards, side.red_cards) == result
        assert side.possession is not None and 35 <= side.possession <= 65

"""How the incidents of the story come about: play goes on, leaning to it, until it can happen."""

from collections.abc import Callable

from eventhub.demo.game import Game, Restart
from eventhub.demo.moves import carry, fly, foul, lose, passing
from eventhub.demo.pitch import PENALTY_DEPTH, at, in_box, to_goal
from eventhub.demo.restarts import take
from eventhub.demo.shots import act, body_part, goal, kick_off, shoot
from eventhub.demo.squads import DEFENDER, FORWARD, MIDFIELDER, Side
from eventhub.demo.story import Incident

SCORERS = {FORWARD: 20.0, MIDFIELDER: 1.4, DEFENDER: 0.5}
FOULERS = {DEFENDER: 5.0, MIDFIELDER: 5.0, FORWARD: 1.0}
STOPS = ("throw_in", "goal_kick", "free_kick")
ATTACKS = ("goal", "free_kick_goal", "own_goal", "penalty_goal", "penalty_missed", "goal_taken_back")
NEAR, DANGEROUS = 68.0, 79.0


def play_on(game: Game) -> None:
    """One action, or the restart that is due."""
    (take if game.restart else act)(game)


def happens(game: Game, incident: Incident) -> bool:
    """Go one step towards it; True when it has happened."""
    if incident.kind == "substitution":
        ready = game.restart is not None and game.restart.kind in STOPS
        (_substitution(game, incident) if ready else play_on(game))
        return ready
    attacker = incident.side if incident.kind in ATTACKS else 1 - incident.side
    if game.restart:
        take(game)
    elif game.holder != attacker:
        lose(game)
    elif not _ready(game, incident.kind):
        game.wait(0.3, 1.6)
        _advance(game)
    else:
        game.wait(0.3, 1.6)
        _HAPPEN[incident.kind](game, incident)
        return True
    return False


def _ready(game: Game, kind: str) -> bool:
    if kind == "free_kick_goal":
        return (
            DANGEROUS - 3 <= game.depth <= 87 and abs(game.ball[1]) < 15 and to_goal(game.side.forward, game.ball) < 28
        )
    if kind in ATTACKS:
        return game.depth >= NEAR
    return 25 <= game.depth <= 85 and game.player != game.side.keeper


def _advance(game: Game) -> None:
    """Forward, or back when it went too far."""
    if game.depth > 86:
        passing(game, sure=True, bold=-8.0)
    elif game.rng.random() < 0.3 and game.player != game.side.keeper:
        carry(game, 8.0)
    else:
        passing(game, sure=True, bold=9.0)


def _set_up(game: Game, least: float, most: float) -> dict[str, object] | None:
    """The last ball: a pass or cross to the scorer, or a run of his own. Returns the pass."""
    game.player, passer, start = game.side.pick(game.rng, SCORERS, but={game.player}), game.player, game.ball
    depth, y = game.rng.uniform(least, most), max(-13.0, min(13.0, game.rng.gauss(0, 6)))
    end = at(game.side.forward, depth, y)
    if game.rng.random() < 0.2 and game.side.role[passer] == FORWARD and game.depth > DANGEROUS:
        game.player = passer
        game.on_ball("carry", game.side, passer, end)
        game.clock_s += 3
        return None
    more = {"sub_type": "cross"} if abs(start[1]) > 16 and game.depth > DANGEROUS else {}
    event = game.on_ball("pass", game.side, passer, end, accurate=True, assist=True, **more)
    fly(game, start)
    game.wait(0.2, 1.2)
    return event


def _scored(game: Game, side: int) -> None:
    game.score[side] += 1


def _goal(game: Game, incident: Incident) -> None:
    assist = _set_up(game, 86, 100)
    head = 0.5 if assist and "sub_type" in str(assist) else 0.08
    goal(game, body_part(game, head))
    game.note("goal", game.side, game.player)
    _scored(game, incident.side)


def _free_kick_goal(game: Game, incident: Incident) -> None:
    foul(game, game.other, game.other.pick(game.rng, FOULERS))
    assert game.restart is not None
    game.clock_s += game.restart.pause_s + 12
    game.player = game.side.pick(game.rng, {MIDFIELDER: 1.0, FORWARD: 3.0})
    goal(game, body_part(game, 0.0), sub_type="free_kick")
    game.note("goal", game.side, game.player)
    _scored(game, incident.side)


def _goal_taken_back(game: Game, incident: Incident) -> None:
    """A goal, a review, a revision that makes it a shot, and one of the pass that is no assist any more."""
    assist = _set_up(game, 90, 100)
    place, scorer = game.ball, game.player
    event = goal(game, body_part(game, 0.1))
    game.note("goal", game.side, scorer)
    game.wait(50, 80)
    game.tell("var_review", game.side, decision="goal disallowed, offside")
    game.note("taken_back", game.side, scorer)
    game.wait(2, 6)
    payload = event["payload"]
    assert isinstance(payload, dict)
    game.revise(event, "update", type="shot", payload=payload | {"outcome": "on_target"})
    if assist is not None:
        before = assist["payload"]
        assert isinstance(before, dict)
        game.revise(assist, "update", payload={k: v for k, v in before.items() if k != "assist"})
    game.restart = Restart("free_kick", 1 - incident.side, place, game.rng.uniform(12, 25))


def _own_goal(game: Game, incident: Incident) -> None:
    """A ball across the goal, turned in by a defender of the other side."""
    start = game.ball
    end = at(game.side.forward, game.rng.uniform(97, 102), game.rng.gauss(0, 3))
    game.on_ball("pass", game.side, game.player, end, accurate=False, sub_type="cross")
    fly(game, start)
    unlucky = game.other.pick(game.rng, {DEFENDER: 8.0, MIDFIELDER: 2.0, FORWARD: 0.01})
    line = at(game.side.forward, 105, game.rng.uniform(-3.4, 3.4))
    game.on_ball("own_goal", game.other, unlucky, line, body_part=body_part(game, 0.35))
    game.note("own_goal", game.other, unlucky)
    _scored(game, incident.side)
    kick_off(game, game.other.number, start=False)


def _penalty(game: Game) -> None:
    """A foul in the box, and the ball on the spot."""
    if not in_box(game.side.forward, game.ball):
        start = game.ball
        end = at(game.side.forward, game.rng.uniform(90, 99), game.rng.uniform(-15, 15))
        passer, game.player = game.player, game.side.pick(game.rng, SCORERS, but={game.player})
        game.on_ball("pass", game.side, passer, end, accurate=True)
        fly(game, start)
    game.wait(0.3, 1.5)
    foul(game, game.other, game.other.pick(game.rng, FOULERS))
    game.restart = None
    game.wait(2, 6)
    game.tell("penalty_awarded", game.side, game.player, x=game.ball[0], y=game.ball[1])
    game.note("penalty", game.side)
    game.wait(50, 90)
    game.ball = at(game.side.forward, PENALTY_DEPTH, 0)
    game.player = game.side.pick(game.rng, {FORWARD: 9.0, MIDFIELDER: 1.0})


def _penalty_goal(game: Game, incident: Incident) -> None:
    _penalty(game)
    goal(game, body_part(game, 0.0), sub_type="penalty_kick")
    game.note("goal", game.side, game.player)
    _scored(game, incident.side)


def _penalty_missed(game: Game, _: Incident) -> None:
    _penalty(game)
    side, taker = game.side, game.player
    shoot(game, sub_type="penalty_kick")
    game.note("missed", side, taker)


def _book(game: Game, by: Side, player: str, kind: str, **more: str) -> None:
    foul(game, by, player, kind, **more)
    game.note(kind, by, player)
    game.yellow[by.number] += kind != "red_card"
    game.red[by.number] += kind != "yellow_card"
    by.cautioned.add(player)
    if kind != "yellow_card":
        by.send_off(player)
        game.line_up()


def _caution(game: Game, incident: Incident) -> None:
    by = game.sides[incident.side]
    _book(game, by, by.pick(game.rng, FOULERS, but=by.cautioned), "yellow_card")


def _first_caution(game: Game, incident: Incident) -> None:
    """Of two: he stays on the pitch until the second."""
    by = game.sides[incident.side]
    player = by.pick(game.rng, FOULERS, but=by.cautioned)
    by.stays.add(player)
    _book(game, by, player, "yellow_card")


def _second_caution(game: Game, incident: Incident) -> None:
    by = game.sides[incident.side]
    _book(game, by, next(iter(by.stays)), "second_yellow_card")


def _sent_off(game: Game, incident: Incident) -> None:
    by = game.sides[incident.side]
    more = {"sub_type": "violent"} if game.rng.random() < 0.5 else {}
    _book(game, by, by.pick(game.rng, FOULERS, but=by.cautioned), "red_card", **more)


def _wrong_card(game: Game, incident: Incident) -> None:
    """The feed names the wrong player, takes it back, and names the right one."""
    by = game.sides[incident.side]
    player = by.pick(game.rng, FOULERS, but=by.cautioned)
    wrong = by.pick(game.rng, FOULERS, but={player, *by.cautioned})
    x, y = game.ball
    mistaken = game.tell("yellow_card", by, wrong, x=x, y=y)
    game.wait(12, 30)
    game.revise(mistaken, "delete")
    _book(game, by, player, "yellow_card")


def _substitution(game: Game, incident: Incident) -> None:
    """One goes, one comes, at a stop."""
    side = game.sides[incident.side]
    game.wait(8, 14)
    out, into = side.substitute(game.rng)
    game.tell("substitution", side, out, player_in_id=into, player_out_id=out)
    game.note("substitution", side, into)
    game.line_up()
    game.wait(8, 14)


_HAPPEN: dict[str, Callable[[Game, Incident], None]] = {
    "goal": _goal,
    "free_kick_goal": _free_kick_goal,
    "own_goal": _own_goal,
    "penalty_goal": _penalty_goal,
    "penalty_missed": _penalty_missed,
    "goal_taken_back": _goal_taken_back,
    "yellow_card": _caution,
    "wrong_card": _wrong_card,
    "first_caution": _first_caution,
    "second_caution": _second_caution,
    "red_card": _sent_off,
}

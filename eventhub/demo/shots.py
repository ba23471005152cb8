"""Attempts of the generated match: when a side shoots, where it goes, and what follows."""

import math

from eventhub.demo.game import Game, Restart
from eventhub.demo.moves import astray, clear, fly, move, out
from eventhub.demo.moves import fouled as fouled_now
from eventhub.demo.pitch import POST, Spot, at, between, spot, to_goal
from eventhub.demo.squads import DEFENDER, FORWARD, MIDFIELDER

CHANCES = ((11.0, 0.5), (18.0, 0.3), (25.0, 0.1), (31.0, 0.03))
"""Within so many metres of the goal's middle, the chance of a shot instead of another action."""
OUTCOMES = {"on_target": 35, "wide": 38, "blocked": 23, "woodwork": 4}
IN_THE_BOX = {FORWARD: 6.0, MIDFIELDER: 2.5, DEFENDER: 1.0}
FEET = ("right_foot", "left_foot")


def act(game: Game) -> None:
    """One action of open play."""
    if fouled_now(game):
        return
    if game.rng.random() < _chance(game):
        game.wait(0.3, 1.2)
        shoot(game)
    elif game.depth > 74 and abs(game.ball[1]) > 15 and game.rng.random() < 0.4:
        game.wait(0.3, 1.2)
        deliver(game, "cross")
    else:
        move(game)


def _chance(game: Game) -> float:
    metres = to_goal(game.side.forward, game.ball)
    chance = next((c for within, c in CHANCES if metres <= within), 0.0)
    if game.depth > 98 and abs(game.ball[1]) > 9:
        chance *= 0.2
    return chance * game.pace.urge("shot", game.holder, game.due_s)


def body_part(game: Game, head: float) -> str:
    """Head with this chance, else a foot."""
    return "head" if game.rng.random() < head else game.rng.choices(FEET, (3, 2))[0]


def deliver(game: Game, sub_type: str) -> None:
    """A ball into the box: from a wing, a corner or a free kick."""
    start, scale = game.ball, game.rng
    end = at(game.side.forward, scale.uniform(92, 100), scale.gauss(0, 5), 1.0)
    if scale.random() > 0.34:
        astray(game, end, {"sub_type": sub_type})
        return
    game.on_ball("pass", game.side, game.player, end, accurate=True, sub_type=sub_type)
    fly(game, start)
    game.player = game.side.pick(game.rng, IN_THE_BOX, but={game.player})
    if scale.random() < 0.75 * game.pace.urge("shot", game.holder, game.due_s):
        shoot(game, head=0.6)


def shoot(game: Game, head: float = 0.08, *, after: bool = True, **more: str) -> None:
    """A shot that is no goal; `more` is its sub type, if any. Without `after` only a save follows."""
    side, other, player, start = game.side, game.other, game.player, game.ball
    outcome = game.rng.choices(list(OUTCOMES), list(OUTCOMES.values()))[0]
    if outcome == "blocked" and more.get("sub_type") == "penalty_kick":
        outcome = "wide"
    foot = body_part(game, 0.0 if more else head)
    game.pace.count("shot", side.number)
    game.on_ball("shot", side, player, _end(game, outcome), outcome=outcome, body_part=foot, **more)
    fly(game, start)
    if not after:
        if outcome == "on_target":
            game.on_ball("save", other, other.keeper, sub_type="save")
    elif outcome == "on_target":
        _saved(game)
    elif outcome == "blocked":
        game.gain(other.number, game.near(other, but={other.keeper}))
        _deflect(game)
    elif outcome == "wide":
        out(game, side, player)
    else:
        game.gain(other.number if game.rng.random() < 0.7 else side.number)
        game.on_ball("touch", game.side, game.player)


def _end(game: Game, outcome: str) -> Spot:
    """Where a shot ends: before the goal line when somebody stops it, else on it."""
    forward, rng = game.side.forward, game.rng
    if outcome == "on_target":
        return at(forward, rng.uniform(103.5, 104.8), rng.uniform(-3.4, 3.4))
    if outcome == "blocked":
        return between(game.ball, at(forward, 105, 0), rng.uniform(0.15, 0.4))
    if outcome == "woodwork":
        return at(forward, 104.9, math.copysign(POST, rng.uniform(-1, 1)))
    return at(forward, 105, math.copysign(POST + 0.3 + rng.expovariate(0.3), rng.uniform(-1, 1)))


def _saved(game: Game) -> None:
    """The goalkeeper holds it, or turns it away for a corner or to somebody."""
    keeper = game.other
    corner = 0.45 * game.pace.urge("corner", game.holder, game.due_s)
    game.gain(keeper.number, keeper.keeper)
    chance, y = game.rng.random(), game.ball[1]
    if chance < corner:
        game.on_ball(
            "save", keeper, keeper.keeper, at(keeper.forward, 0, math.copysign(abs(y) + 4, y)), sub_type="save"
        )
        game.clock_s += 1
        out(game, keeper, keeper.keeper)
    elif chance < corner + 0.15:
        loose = at(keeper.forward, game.rng.uniform(3, 12), game.rng.gauss(y, 6))
        game.on_ball("save", keeper, keeper.keeper, loose, sub_type="save")
        game.clock_s += 1
        game.gain(keeper.number, game.near(keeper, but={keeper.keeper}))
        clear(game)
    else:
        game.on_ball("save", keeper, keeper.keeper, sub_type="save")
        game.wait(5, 14)


def _deflect(game: Game) -> None:
    """Off a defender: behind, or he clears."""
    if game.rng.random() < 0.45 * game.pace.urge("corner", 1 - game.holder, game.due_s):
        end = at(game.side.forward, 0, math.copysign(game.rng.uniform(5, 20), game.ball[1]))
        game.on_ball("touch", game.side, game.player, end)
        game.clock_s += 1.5
        out(game, game.side, game.player)
    else:
        clear(game)


def goal(game: Game, foot: str, **more: str) -> dict[str, object]:
    """The side on the ball scores; the other kicks off."""
    side, other = game.side, game.other
    game.pace.count("shot", side.number)
    start, end = game.ball, at(side.forward, 105, game.rng.uniform(-3.4, 3.4))
    event = game.on_ball("goal", side, game.player, end, body_part=foot, **more)
    fly(game, start)
    if not more and game.rng.random() < 0.4:
        # As feeds do: the goalkeeper's attempt is a record of its own, and counts for nothing.
        game.on_ball("save", other, other.keeper, sub_type="save_attempt")
    kick_off(game, other.number, start=False)
    return event


def kick_off(game: Game, number: int, *, start: bool) -> None:
    """From the centre: at once at the start of a period, after the joy otherwise."""
    game.restart = Restart("kick_off", number, spot(0, 0), 1.0 if start else game.rng.uniform(41, 57))

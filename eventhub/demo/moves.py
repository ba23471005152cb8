"""Open play of the generated match: passes, carries, duels, fouls, and how the ball is lost.

Every action begins where the last one ended. Chances are set so that about 82 of 100 passes arrive, as in published
event data of men's first divisions.
"""

import math
from collections.abc import Callable

from eventhub.demo.game import Game, Restart, Touch, stand
from eventhub.demo.pitch import BOX_WIDTH, HALF_WIDTH, Spot, apart, at, between, depth_of, in_box, spot
from eventhub.demo.squads import FORWARD, KEEPER, Side

BALL_M_S = 15.0
DEEP, BOLD = 84.0, 33.0
FOUL, FOUL_ON_BALL, OFFSIDE = 0.02, 0.004, 0.07


def fly(game: Game, start: Spot) -> None:
    """The ball is on its way."""
    game.clock_s += 0.3 + apart(start, game.ball) / BALL_M_S


def move(game: Game) -> None:
    """A pass, carry, duel or touch of the side on the ball."""
    game.wait(0.5, 2.3)
    kinds: tuple[tuple[Callable[[Game], None], int], ...] = ((_onward, 76), (carry, 9), (duel, 13), (touch, 3))
    if game.side.role[game.player] == KEEPER:
        _onward(game)
    else:
        game.rng.choices([act for act, _ in kinds], [weight for _, weight in kinds])[0](game)


def _onward(game: Game) -> None:
    """A pass; a side that is behind with its shots and corners plays it forward."""
    urge = max(game.pace.urge(kind, game.holder, game.due_s) for kind in ("shot", "corner"))
    passing(game, bold=BOLD / max(1.0, 1.3 * urge - 0.6))


def passing(game: Game, sub_type: str | None = None, *, sure: bool = False, bold: float = BOLD) -> None:
    """A pass to a team mate; `sure` ones arrive. A smaller `bold` goes forward more, a negative one back."""
    start = game.ball
    receiver, end = _target(game, bold)
    more = {"sub_type": sub_type} if sub_type else {}
    if not sure and game.rng.random() > _accuracy(game, end, sub_type):
        astray(game, end, more)
        return
    game.on_ball("pass", game.side, game.player, end, accurate=True, **more)
    fly(game, start)
    game.player = receiver
    onward = depth_of(game.side.forward, end) - depth_of(game.side.forward, start)
    if not sure and not sub_type and game.depth > 76 and onward > 7 and game.rng.random() < OFFSIDE:
        game.on_ball("offside", game.side, receiver)
        game.restart = Restart("free_kick", 1 - game.holder, game.ball, game.rng.uniform(12, 28))


def _target(game: Game, bold: float) -> tuple[str, Spot]:
    """Who is played to and where: rather near, rather forward."""
    places, weights = [], []
    for player in game.side.on_pitch:
        x, y = stand(game.side, player, game.ball, True)
        place = spot(game.rng.gauss(x, 3.5), game.rng.gauss(y, 3.5), 0.5)
        metres = apart(game.ball, place)
        onward = depth_of(game.side.forward, place) - game.depth
        fit = math.exp(-(((metres - 13) / 13) ** 2) + max(-4.0, min(4.0, onward / bold)))
        places.append((player, place))
        weights.append(0.0 if player == game.player or metres < 3 else fit + 1e-9)
    if not any(weights):
        weights = [float(player != game.player) for player, _ in places]
    return game.rng.choices(places, weights)[0]


def _accuracy(game: Game, end: Spot, sub_type: str | None) -> float:
    """The chance that a pass arrives: less when it is long, goes far forward or into the last third."""
    metres = apart(game.ball, end)
    onward = depth_of(game.side.forward, end) - game.depth
    chance = 0.925 + game.skill[game.holder] - 0.004 * max(0.0, metres - 8) - 0.0035 * max(0.0, onward)
    chance -= 0.14 if depth_of(game.side.forward, end) > DEEP else 0.0
    chance -= 0.04 if depth_of(game.side.forward, end) > 62 else 0.0
    return chance - (0.04 if sub_type == "throw_in" else 0.0)


def astray(game: Game, end: Spot, more: dict[str, str]) -> None:
    """A pass that goes to the other side, out, or into a duel; `more` is what else its payload says."""
    wide, deep = abs(end[1]), depth_of(game.side.forward, end) > DEEP
    ways: list[tuple[Callable[[Game, Spot, dict[str, str]], None], float]] = [
        (_intercepted, 45),
        (_over_the_touchline, 34 if wide > 12 else 8),
        (_lost_in_a_duel, 0 if deep else 22),
        (_cleared, 45 if deep else 0),
        (_keeper_comes, 22 if deep and wide < BOX_WIDTH else 0),
        (_over_the_goal_line, 16 if deep else 0),
    ]
    game.rng.choices([way for way, _ in ways], [weight for _, weight in ways])[0](game, end, more)


def _miss(game: Game, end: Spot, more: dict[str, str]) -> tuple[Side, str]:
    """Say the pass; returns who played it."""
    side, player, start = game.side, game.player, game.ball
    game.on_ball("pass", side, player, end, accurate=False, **more)
    fly(game, start)
    return side, player


def _intercepted(game: Game, end: Spot, more: dict[str, str]) -> None:
    _miss(game, between(game.ball, end, game.rng.uniform(0.5, 1)), more)
    game.gain(1 - game.holder)
    game.on_ball("interception", game.side, game.player)


def _over_the_touchline(game: Game, end: Spot, more: dict[str, str]) -> None:
    x = max(-51.0, min(51.0, end[0]))
    out(game, *_miss(game, spot(x, math.copysign(HALF_WIDTH, end[1])), more))


def _over_the_goal_line(game: Game, end: Spot, more: dict[str, str]) -> None:
    """Straight, or off a defender."""
    y = math.copysign(max(8.0, min(33.0, abs(end[1]))), end[1])
    if game.rng.random() > 0.5 * game.pace.urge("corner", game.holder, game.due_s):
        out(game, *_miss(game, at(game.side.forward, 105, y), more))
        return
    _miss(game, end, more)
    game.gain(1 - game.holder, game.near(game.other, but={game.other.keeper}))
    game.on_ball("touch", game.side, game.player, at(game.side.forward, 0, y))
    game.clock_s += 1.5
    out(game, game.side, game.player)


def _lost_in_a_duel(game: Game, end: Spot, more: dict[str, str]) -> None:
    long = apart(game.ball, end) > 22
    _miss(game, end, more)
    game.player = game.near(game.side, but={game.player})
    duel(game, "aerial" if long else "loose_ball", "lost")


def _cleared(game: Game, end: Spot, more: dict[str, str]) -> None:
    _miss(game, end, more)
    game.gain(1 - game.holder)
    clear(game)


def _keeper_comes(game: Game, end: Spot, more: dict[str, str]) -> None:
    _miss(game, end, more)
    game.gain(1 - game.holder, game.other.keeper)
    game.on_ball("keeper_leaving_line", game.side, game.player)
    game.wait(3, 8)


def lose(game: Game) -> None:
    """The other side gets the ball, here or where it is passed to."""
    game.wait(0.3, 1.6)
    _intercepted(game, _target(game, BOLD)[1], {})


def out(game: Game, side: Side, player: str) -> None:
    """The ball left the pitch where it is, last touched by this player; sets how play goes on."""
    x, y = game.ball
    game.touches.append(Touch(game.due_s, game.ball, side.number, ""))
    game.tell("ball_out", side, player, x=x, y=y)
    number = 1 - side.number
    if abs(y) == HALF_WIDTH and abs(x) < 52.5:
        game.restart = Restart("throw_in", number, game.ball, game.rng.uniform(5, 13))
    elif x * side.forward > 0:
        kick = at(game.sides[number].forward, 5.5, game.rng.uniform(-9, 9))
        game.restart = Restart("goal_kick", number, kick, game.rng.uniform(14, 28))
    else:
        corner = spot(x, math.copysign(HALF_WIDTH, y))
        game.restart = Restart("corner_kick", number, corner, game.rng.uniform(18, 32))


def clear(game: Game) -> None:
    """The side on the ball kicks it away: behind for a corner, into touch, or far to somebody."""
    side, player, start = game.side, game.player, game.ball
    corner = 0.35 * game.pace.urge("corner", 1 - side.number, game.due_s) if game.depth < 28 else 0.0
    chance = game.rng.random()
    y = game.rng.gauss(start[1] * 1.2, 10)
    if chance < corner:
        end = at(side.forward, 0, math.copysign(game.rng.uniform(6, 28), start[1]))
    elif chance < corner + 0.25:
        end = spot(at(side.forward, game.depth + game.rng.uniform(3, 30), 0, 1.0)[0], math.copysign(HALF_WIDTH, y))
    else:
        end = at(side.forward, game.depth + game.rng.uniform(18, 42), y, 1.0)
    game.on_ball("clearance", side, player, end)
    fly(game, start)
    if chance < corner + 0.25:
        out(game, side, player)
    else:
        game.gain(side.number if game.rng.random() < 0.4 else 1 - side.number)


def carry(game: Game, least: float = 4.0) -> None:
    """A run with the ball, rather forward."""
    start = game.ball
    onward = game.rng.uniform(least, least + 10)
    end = at(game.side.forward, min(99.0, game.depth + onward), start[1] + game.rng.gauss(0, 3), 0.5)
    game.on_ball("carry", game.side, game.player, end)
    game.clock_s += 0.5 + apart(start, end) / 5.5


def touch(game: Game) -> None:
    """The ball jumps off a foot; the same side keeps it."""
    game.on_ball("touch", game.side, game.player)
    game.player = game.near(game.side)


def duel(game: Game, sub_type: str = "ground", outcome: str | None = None) -> None:
    """Two players, two records; `outcome` is that of the side on the ball."""
    rival = game.near(game.other, but={game.other.keeper})
    outcome = outcome or game.rng.choices(("won", "lost", "neutral"), (60, 32, 8))[0]
    opposite = {"won": "lost", "lost": "won", "neutral": "neutral"}[outcome]
    game.on_ball("duel", game.side, game.player, sub_type=sub_type, outcome=outcome)
    game.on_ball("duel", game.other, rival, sub_type=sub_type, outcome=opposite)
    game.wait(0.4, 1.2)
    if outcome == "lost":
        game.gain(1 - game.holder, rival)
    elif outcome == "neutral":
        game.gain(game.rng.randint(0, 1))
        game.on_ball("touch", game.side, game.player)


def foul(game: Game, by: Side, player: str, kind: str = "foul", **more: str) -> None:
    """A free kick for the other side where the ball is. A card is the record of the foul that earned it."""
    game.pace.count("foul", by.number)
    game.on_ball(kind, by, player, None, **more)
    game.restart = Restart("free_kick", 1 - by.number, game.ball, game.rng.uniform(14, 34))


def fouled(game: Game) -> bool:
    """Whether somebody commits a foul now; never one that would be a penalty."""
    for by, chance in ((game.other, FOUL), (game.side, FOUL_ON_BALL)):
        urge = game.pace.urge("foul", by.number, game.due_s)
        if game.rng.random() < chance * urge and not in_box(-by.forward, game.ball) and game.player != game.side.keeper:
            # Forwards foul less than they are near.
            spared = {p for p in by.on_pitch if by.role[p] == FORWARD and game.rng.random() < 0.6}
            more = {"sub_type": "hand"} if game.rng.random() < 0.05 else {}
            player = game.player if by is game.side else game.near(by, but={by.keeper, *spared})
            foul(game, by, player, **more)
            return True
    return False

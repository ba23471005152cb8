"""How play goes on after a stop: kick-offs, throw-ins, goal kicks, corners and free kicks of the generated match."""

from eventhub.demo.game import Game
from eventhub.demo.moves import astray, duel, fly, passing
from eventhub.demo.pitch import at, to_goal
from eventhub.demo.shots import deliver, shoot
from eventhub.demo.squads import DEFENDER, FORWARD, MIDFIELDER

SETTERS = {MIDFIELDER: 4.0, FORWARD: 1.0, DEFENDER: 0.5}


def take(game: Game) -> None:
    """Whatever is due: the ball is put in its place and played."""
    restart = game.restart
    assert restart is not None, "play is stopped"
    game.restart = None
    game.clock_s += restart.pause_s
    game.ball, game.holder = restart.place, restart.side
    {"kick_off": _kick_off, "throw_in": _throw_in, "goal_kick": _goal_kick, "corner_kick": _corner}.get(
        restart.kind, _free_kick
    )(game)


def _kick_off(game: Game) -> None:
    game.player = game.side.pick(game.rng, {FORWARD: 1.0, MIDFIELDER: 0.01})
    start = game.ball
    end = at(game.side.forward, 52.5 - game.rng.uniform(6, 16), game.rng.gauss(0, 6))
    game.on_ball("pass", game.side, game.player, end, accurate=True)
    fly(game, start)
    game.player = game.near(game.side, but={game.player})


def _throw_in(game: Game) -> None:
    game.player = game.near(game.side, but={game.side.keeper})
    passing(game, "throw_in", bold=60.0)


def _goal_kick(game: Game) -> None:
    game.player = game.side.keeper
    if game.rng.random() < 0.5:
        passing(game, "goal_kick", bold=60.0)
        return
    start, end = game.ball, at(game.side.forward, game.rng.uniform(52, 68), game.rng.gauss(0, 13), 1.0)
    if game.rng.random() < 0.45:
        game.on_ball("pass", game.side, game.player, end, accurate=True, sub_type="goal_kick")
        fly(game, start)
        game.player = game.near(game.side)
        duel(game, "aerial", "won")
    else:
        astray(game, end, {"sub_type": "goal_kick"})


def _corner(game: Game) -> None:
    game.pace.count("corner", game.holder)
    game.player = game.side.pick(game.rng, SETTERS)
    if game.rng.random() < 0.12:
        passing(game, "corner_kick", sure=True)
    else:
        deliver(game, "corner_kick")


def _free_kick(game: Game) -> None:
    """Near the goal a shot, further away a ball into the box, else a pass."""
    metres = to_goal(game.side.forward, game.ball)
    game.player = game.side.pick(game.rng, SETTERS)
    urge = game.pace.urge("shot", game.holder, game.due_s)
    if metres < 29 and abs(game.ball[1]) < 17 and game.rng.random() < 0.6 * urge:
        shoot(game, sub_type="free_kick")
    elif game.depth > 70:
        deliver(game, "free_kick")
    else:
        game.player = game.side.keeper if game.depth < 14 else game.near(game.side)
        passing(game, "free_kick", bold=60.0)

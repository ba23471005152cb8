"""The shoot-out of the generated match: five kicks each, over once it is decided, then one each until it is."""

from eventhub.demo.game import Game
from eventhub.demo.pitch import PENALTY_DEPTH, at
from eventhub.demo.shots import FEET, shoot
from eventhub.demo.squads import DEFENDER, FORWARD, KEEPER, MIDFIELDER, Side

SCORED, FIRST = 0.74, 5
ORDER = {FORWARD: 3, MIDFIELDER: 2, DEFENDER: 1, KEEPER: 0}


def shoot_out(game: Game) -> None:
    """Played to its end; the goals are not of the match's score."""
    game.begin("shootout")
    first = game.rng.randint(0, 1)
    # The side with more players leaves some out, so that nobody kicks twice before everybody has (Law 10).
    count = min(len(side.on_pitch) for side in game.sides)
    takers = [_takers(game, side)[:count] for side in game.sides]
    taken = [0, 0]
    while not _decided(game.shootout, taken):
        number = first if taken[0] == taken[1] else 1 - first
        _kick(game, number, takers[number][taken[number] % count])
        taken[number] += 1
    game.wait(4, 8)
    winner = int(game.shootout[1] > game.shootout[0])
    game.note("won", game.sides[winner])
    game.end(0.0)


def _takers(game: Game, side: Side) -> list[str]:
    """Forwards rather first, the goalkeeper last."""
    chance = {p: ORDER[side.role[p]] + game.rng.uniform(0, 2.5) for p in side.on_pitch[1:]}
    return [*sorted(chance, key=lambda p: -chance[p]), side.keeper]


def _decided(goals: list[int], taken: list[int]) -> bool:
    """Whether one side cannot be caught: in the first five, or after as many each beyond."""
    if max(taken) > FIRST or taken == [FIRST, FIRST]:
        return taken[0] == taken[1] and goals[0] != goals[1]
    left = [FIRST - kicks for kicks in taken]
    return goals[0] > goals[1] + left[1] or goals[1] > goals[0] + left[0]


def _kick(game: Game, number: int, taker: str) -> None:
    game.wait(32, 52)
    side = game.sides[number]
    game.ball = at(side.forward, PENALTY_DEPTH, 0)
    game.gain(number, taker)
    if game.rng.random() < SCORED:
        end = at(side.forward, 105, game.rng.uniform(-3.4, 3.4))
        game.on_ball("goal", side, taker, end, sub_type="penalty_kick", body_part=game.rng.choice(FEET))
        game.shootout[number] += 1
    else:
        shoot(game, after=False, sub_type="penalty_kick")
        game.note("missed", side, taker)

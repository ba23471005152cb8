"""Positions once a second, for parts of the generated match: where everybody is while the ball goes where it is said.

The first five minutes of each period and twenty seconds around every goal: enough for a picture of play whenever
somebody looks, a sixth of what a whole match would be, and ten frames a second at the usual speed.
"""

import math
import random
from bisect import bisect_right

from eventhub.demo.game import Game, Touch, stand
from eventhub.demo.items import Item
from eventhub.demo.pitch import CENTRE, Spot, apart, between, spot
from eventhub.demo.squads import Side

FIRST_S, BEFORE_GOAL_S, AFTER_GOAL_S = 300, 14, 6
FASTEST_M_S, JOG_M_S = 8.5, 5.5


def frames(rng: random.Random, game: Game) -> list[Item]:
    """The frames of a told match, each due at its second of playing time."""
    due = [touch.due_s for touch in game.touches]
    told = [at_s for at_s, _, _ in game.lineups]
    where: dict[str, Spot] = {}
    made: list[Item] = []
    last = -1
    for second in _seconds(game):
        index = bisect_right(due, second) - 1
        now, then = game.touches[max(0, index)], game.touches[min(index + 1, len(due) - 1)]
        _, *on_pitch = game.lineups[bisect_right(told, second) - 1]
        if second != last + 1:
            where = {}
        ball = _ball(now, then, second)
        held = _Moment(now, then, ball, float(second))
        where = {
            player: _step(rng, held, side, player, where, fresh=bool(where))
            for side, players in zip(game.sides, on_pitch, strict=True)
            for player in players
        }
        last = second
        payload = {"players": [[player, *place] for player, place in where.items()], "ball": list(ball)}
        event = {"source_event_id": f"t{second}", "type": "tracking_frame", "payload": payload}
        made.append(Item(float(second), "sensors", event))
    return made


def _seconds(game: Game) -> list[int]:
    """The seconds of playing time that have a frame."""
    chosen: set[int] = set()
    for item in game.items:
        kind, due_s = item.event["type"], math.ceil(item.due_s)
        if item.event["period"] == "shootout" or item.event.get("revision"):
            continue
        if kind == "period_start":
            chosen.update(range(due_s, due_s + FIRST_S))
        elif kind in ("goal", "own_goal"):
            chosen.update(range(due_s - BEFORE_GOAL_S, due_s + AFTER_GOAL_S))
    return sorted(chosen)


class _Moment:
    """Between two touches: who was at the ball, who will be, and where it is."""

    def __init__(self, now: Touch, then: Touch, ball: Spot, second: float) -> None:
        self.now, self.then, self.ball = now, then, ball
        self.left_s = then.due_s - second
        self.kick_off = then.place == CENTRE or (now.place == CENTRE and second - now.due_s < 1)


def _ball(now: Touch, then: Touch, second: float) -> Spot:
    if second <= now.due_s or then.due_s <= now.due_s:
        return now.place
    return between(now.place, then.place, (second - now.due_s) / (then.due_s - now.due_s))


def _step(rng: random.Random, held: _Moment, side: Side, player: str, where: dict[str, Spot], *, fresh: bool) -> Spot:
    """Where a player is a second later: he who plays next runs to the ball, the rest keep their shape."""
    aim, most = stand(side, player, held.ball, held.now.side == side.number), JOG_M_S
    if held.kick_off:
        aim = side.forward * min(-1.0, side.forward * aim[0]), aim[1]
    if player == held.then.player:
        aim, most = held.then.place, FASTEST_M_S
    elif player == held.now.player and held.left_s > 0 and held.now.place == held.then.place:
        aim = held.now.place
    # Who comes on enters at the halfway line.
    start = where.get(player, (0.0, 34.0) if fresh else aim)
    metres = apart(start, aim)
    if metres < 0.3:
        return spot(*start)
    pace = metres if player == held.then.player and held.left_s < 2 else 0.45 * metres
    share = min(most, pace) / metres * rng.uniform(0.85, 1.0)
    return between(start, aim, share)

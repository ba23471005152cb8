"""The state of the generated match while it is told: clock, ball, who has it, and what was said of it so far."""

import random
from collections.abc import Collection
from typing import Any, NamedTuple

from eventhub.demo.items import Item
from eventhub.demo.pace import Pace
from eventhub.demo.pitch import CENTRE, HALF_LENGTH, Spot, apart, depth_of
from eventhub.demo.squads import DEFENDER, KEEPER, Side
from eventhub.events import PERIODS

LEAN_DEPTH, LEAN_WIDTH, RETREAT = 0.55, 0.3, 4.0
REACH_M = 3.5


class Restart(NamedTuple):
    """How play goes on: a sub type of pass, or `kick_off`; after `pause_s` seconds."""

    kind: str
    side: int
    place: Spot
    pause_s: float


class Touch(NamedTuple):
    """Somebody is at the ball; between two touches it moves in a straight line."""

    due_s: float
    place: Spot
    side: int
    player: str


class Talk(NamedTuple):
    """What the crowd talks about: `name` of the player, `club` whose it is; either may be empty."""

    due_s: float
    kind: str
    club: str
    name: str


def stand(side: Side, player: str, ball: Spot, holds: bool) -> Spot:
    """Where a player is when the ball is there: his place in the formation, which leans to the ball. Not rounded."""
    depth, width = side.place[player]
    role, forward = side.role[player], side.forward
    ball_depth = depth_of(forward, ball)
    if role == KEEPER:
        return forward * (3 + ball_depth * 0.12 - HALF_LENGTH), ball[1] * 0.1
    depth += LEAN_DEPTH * (ball_depth - HALF_LENGTH) - (0 if holds or role == DEFENDER else RETREAT)
    y = forward * width * 0.95 + LEAN_WIDTH * ball[1]
    return forward * (max(7.0, min(97.0, depth)) - HALF_LENGTH), max(-33.5, min(33.5, y))


class Game:
    """One match. Rules of play read and change it; `tell` and `on_ball` are the only ways to say something."""

    def __init__(self, rng: random.Random, sides: tuple[Side, Side]) -> None:
        self.rng = rng
        self.sides = sides
        self.pace = Pace(rng)
        self.skill = tuple(rng.uniform(-0.02, 0.02) for _ in sides)
        self.items: list[Item] = []
        self.touches: list[Touch] = []
        self.lineups: list[tuple[float, tuple[str, ...], tuple[str, ...]]] = []
        self.talk: list[Talk] = []
        self.score, self.shootout = [0, 0], [0, 0]
        self.yellow, self.red = [0, 0], [0, 0]
        self.period, self.clock_s = "first_half", 0.0
        self.began_s, self.played_s = 0.0, 0.0
        self.ball: Spot = CENTRE
        self.holder, self.player = 0, sides[0].on_pitch[-1]
        self.restart: Restart | None = None
        self._numbers = 0

    @property
    def due_s(self) -> float:
        """Seconds of playing time since the first kick-off."""
        return self.played_s + self.clock_s - self.began_s

    @property
    def side(self) -> Side:
        """Who has the ball."""
        return self.sides[self.holder]

    @property
    def other(self) -> Side:
        """Who has not."""
        return self.sides[1 - self.holder]

    @property
    def depth(self) -> float:
        """How far the side on the ball has come."""
        return depth_of(self.side.forward, self.ball)

    def begin(self, period: str) -> None:
        """The clock of a period starts."""
        self.period = period
        self.clock_s = self.began_s = float(PERIODS[period].begins_s)
        self.tell("period_start")
        self.line_up()

    def end(self, pause_s: float) -> None:
        """A period is over, the next one begins after `pause_s`."""
        self.tell("period_end")
        self.played_s = self.due_s + pause_s
        self.began_s = self.clock_s

    def line_up(self) -> None:
        """Remember who is on the pitch from now on."""
        home, away = self.sides
        self.lineups.append((self.due_s, tuple(home.on_pitch), tuple(away.on_pitch)))

    def tell(self, kind: str, side: Side | None = None, player: str | None = None, **payload: Any) -> dict[str, Any]:
        """Say one thing as broadcast does; returns the event, which goes out as it is."""
        self._numbers += 1
        event: dict[str, Any] = {
            "source_event_id": f"b{self._numbers}",
            "type": kind,
            "period": self.period,
            "clock_s": round(self.clock_s, 1),
            "payload": payload,
        }
        if side is not None:
            event["team_id"] = side.team.id
        if player is not None:
            event["player_id"] = player
        self.items.append(Item(self.due_s, "broadcast", event))
        return event

    def revise(self, event: dict[str, Any], action: str, **changes: Any) -> None:
        """Say an earlier thing again, otherwise or not at all; what stood is not changed."""
        self.items.append(Item(self.due_s, "broadcast", event | {"revision": 1, "action": action} | changes))

    def on_ball(self, kind: str, side: Side, player: str, end: Spot | None = None, **payload: Any) -> dict[str, Any]:
        """Say what a player does where the ball is; it is at `end` afterwards."""
        place: dict[str, Any] = {"x": self.ball[0], "y": self.ball[1]}
        self.touches.append(Touch(self.due_s, self.ball, side.number, player))
        if end is not None:
            place |= {"end_x": end[0], "end_y": end[1]}
            self.ball = end
        return self.tell(kind, side, player, **place, **payload)

    def near(self, side: Side, but: Collection[str] = ()) -> str:
        """One of a side who is close to the ball; a goalkeeper only in front of his goal."""
        deep = depth_of(side.forward, self.ball) < 12
        of = [p for p in side.on_pitch if p not in but and (deep or side.role[p] != KEEPER)]
        holds = side is self.side
        far = [apart(stand(side, p, self.ball, holds), self.ball) for p in of]
        nearest = min(far)
        # Defenders win more balls than their distance says: it is what they are there for.
        keen = [2.0 if side.role[p] == DEFENDER and not holds else 1.0 for p in of]
        return self.rng.choices(
            of, [much * 2.0 ** ((nearest - metres) / REACH_M) for metres, much in zip(far, keen, strict=True)]
        )[0]

    def name(self, player: str) -> str:
        """The name of a player of either side."""
        return next(p.name for side in self.sides for p in side.squad if p.id == player)

    def note(self, kind: str, side: Side, player: str | None = None) -> None:
        """Something that the crowd talks about."""
        self.talk.append(Talk(self.due_s, kind, side.team.name, self.name(player) if player else ""))

    def wait(self, least_s: float, most_s: float) -> None:
        """Time passes."""
        self.clock_s += self.rng.uniform(least_s, most_s)

    def gain(self, number: int, player: str | None = None) -> None:
        """The ball changes hands, or feet."""
        self.holder = number
        self.player = player if player is not None else self.near(self.sides[number])

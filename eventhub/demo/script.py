"""What happens in the generated match, second by second.

The incidents are set (their times are the seed's): own goal, a goal that VAR takes back, a sending-off by a second
yellow, three substitutions a side, level after 90 and 120 minutes, a shoot-out. Between them the ball moves in chains
of passes, carries and duels. Then the feed is made as imperfect as real ones: late, doubled and revised records.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from eventhub.demo.squads import Side, declaration, sides
from eventhub.events import PERIODS

FRAMES_S = 300
HALF_LENGTH, HALF_WIDTH = 52.5, 34.0
LATE, TWICE, REVISED = 0.01, 0.01, 0.005


class Item(NamedTuple):
    """One event to send `due_s` seconds of playing time after kick-off; no match_id and no occurred_at yet."""

    due_s: float
    source: str
    event: dict[str, Any]


class Demo(NamedTuple):
    """A whole match: its declaration without starts_at, and its items in sending order."""

    declaration: dict[str, Any]
    items: list[Item]


class _Incident(NamedTuple):
    period: str
    clock_s: float
    happen: Callable[["_Match", Side, Side], object]
    acting: int


def generate(seed: int) -> Demo:
    """The match of this seed; the same seed gives the same items."""
    rng = random.Random(seed)  # noqa: S311 - a story, not a secret
    match = _Match(rng)
    told = declaration(*match.sides)
    plan = _plan(rng)
    for name in list(PERIODS)[:4]:
        match.play(name, sorted((i for i in plan if i.period == name), key=lambda i: i.clock_s))
    match.shootout()
    match.tell("match_end", None, None)
    return Demo(told, _imperfect(rng, match.items))


def _plan(rng: random.Random) -> list[_Incident]:
    """Level after 90 and after 120 minutes: each side gains as much as the other."""

    def between(first: int, last: int) -> float:
        return 60.0 * rng.randint(first, last) + rng.randint(0, 59)

    one = rng.randint(0, 1)
    other = 1 - one
    first, second = "first_half", "second_half"
    return [
        _Incident(first, between(8, 20), _Match.goal, one),
        _Incident(first, between(24, 30), _Match.caution, other),
        _Incident(first, between(33, 42), _Match.own_goal, one),
        _Incident(second, between(48, 55), _Match.goal_taken_back, rng.randint(0, 1)),
        *(
            _Incident(second, between(57 + 5 * n, 61 + 5 * n), _Match.substitution, side)
            for n in range(3)
            for side in (0, 1)
        ),
        _Incident(second, between(73, 76), _Match.penalty_goal, one),
        _Incident(second, between(77, 80), _Match.second_caution, other),
        _Incident(second, between(82, 88), _Match.goal, other),
        _Incident("first_half_extratime", between(93, 103), _Match.goal, one),
        _Incident("second_half_extratime", between(108, 118), _Match.goal, other),
    ]


class _Match:
    """The match while it is told: who has the ball where, and what was said of it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.sides = sides(rng)
        self.items: list[Item] = []
        self.period, self.clock_s = "first_half", 0.0
        self._played_s, self._began_s = 0.0, 0.0
        self._ball = (0.0, 0.0)
        self._number = 0
        self._cautioned: str | None = None
        self._where: dict[str, tuple[float, float]] = {}

    def tell(self, kind: str, side: Side | None, player: str | None, **payload: Any) -> str:
        """Say one thing as broadcast does; returns its id."""
        self._number += 1
        own_id = f"b{self._number}"
        event: dict[str, Any] = {
            "source_event_id": own_id,
            "type": kind,
            "period": self.period,
            "clock_s": round(self.clock_s, 1),
            "payload": payload,
        }
        if side is not None:
            event["team_id"] = side.team.id
        if player is not None:
            event["player_id"] = player
        self.items.append(Item(self._due_s(), "broadcast", event))
        return own_id

    def play(self, name: str, incidents: list[_Incident]) -> None:
        """One period with its incidents; stoppage time is the seed's."""
        period = PERIODS[name]
        self.period, self.clock_s, self._began_s = name, float(period.begins_s), float(period.begins_s)
        self.tell("period_start", None, None)
        self._ball = (0.0, 0.0)
        end_s = period.begins_s + period.length_s + self.rng.randint(60, 240)
        holder = self.rng.randint(0, 1)
        while self.clock_s < end_s:
            if incidents and self.clock_s >= incidents[0].clock_s:
                incident = incidents.pop(0)
                incident.happen(self, self.sides[incident.acting], self.sides[1 - incident.acting])
                self._post(incident)
                self.clock_s += 40
            self._chain(self.sides[holder], self.sides[1 - holder])
            holder = 1 - holder
            self._frames()
        self.tell("period_end", None, None)
        self._played_s += self.clock_s - self._began_s

    def goal(self, side: Side, _: Side, sub_type: str | None = None) -> str:
        """A goal from close by."""
        x, y = self._towards(side, 40), self.rng.uniform(-12, 12)
        more = {"sub_type": sub_type} if sub_type else {}
        scorer = side.anyone(self.rng)
        return self.tell(
            "goal", side, scorer, x=x, y=round(y, 1), body_part=self.rng.choice(("left_foot", "head")), **more
        )

    def penalty_goal(self, side: Side, other: Side) -> None:
        """Awarded, and scored."""
        self.tell("penalty_awarded", side, side.anyone(self.rng))
        self.clock_s += 50
        self.goal(side, other, "penalty_kick")

    def own_goal(self, side: Side, _: Side) -> None:
        """Counts for the other side."""
        self.tell("own_goal", side, side.anyone(self.rng), x=-self._towards(side, 49), y=2.0)

    def goal_taken_back(self, side: Side, other: Side) -> None:
        """A goal, a review, and a revision that makes it a shot."""
        own_id = self.goal(side, other)
        goal = self.items[-1].event
        self.clock_s += 60
        self.tell("var_review", side, None, decision="goal disallowed, offside")
        revised = goal | {"source_event_id": own_id, "revision": 1, "action": "update", "type": "shot"}
        self.items.append(Item(self._due_s() + 5, "broadcast", revised))

    def caution(self, side: Side, _: Side) -> None:
        """A first yellow card."""
        self._cautioned = side.anyone(self.rng)
        self.tell("yellow_card", side, self._cautioned)

    def second_caution(self, side: Side, _: Side) -> None:
        """He goes, unless he was taken off meanwhile: then it is another, with both cards."""
        if self._cautioned not in side.on_pitch:
            self.caution(side, _)
            self.clock_s += 30
        assert self._cautioned is not None
        self.tell("second_yellow_card", side, self._cautioned)
        side.send_off(self._cautioned)

    def substitution(self, side: Side, _: Side) -> None:
        """One goes, one comes."""
        out, into = side.substitute(self.rng)
        self.tell("substitution", side, out, player_in_id=into, player_out_id=out)

    def shootout(self) -> None:
        """Five kicks each, of which one side misses one more than the other."""
        self.period, self.clock_s = "shootout", float(PERIODS["shootout"].begins_s)
        self._began_s = self.clock_s
        self.tell("period_start", None, None)
        takers = [self.rng.sample(side.on_pitch[1:], len(side.on_pitch) - 1) for side in self.sides]
        loser = self.rng.randint(0, 1)
        missed = {loser: self.rng.sample(range(5), 2), 1 - loser: self.rng.sample(range(5), 1)}
        scored, left = [0, 0], [5, 5]
        for turn in range(10):
            number, kick = turn % 2, turn // 2
            self._kick(number, takers[number][kick % len(takers[number])], kick in missed[number])
            scored[number] += kick not in missed[number]
            left[number] -= 1
            if scored[0] > scored[1] + left[1] or scored[1] > scored[0] + left[0]:
                break
        self.tell("period_end", None, None)

    def _kick(self, number: int, taker: str, misses: bool) -> None:
        """One kick of the shoot-out; a miss is saved or wide."""
        side, other = self.sides[number], self.sides[1 - number]
        self.clock_s += 35
        if not misses:
            self.tell("goal", side, taker, sub_type="penalty_kick")
            return
        outcome = self.rng.choice(("on_target", "wide"))
        self.tell("shot", side, taker, sub_type="penalty_kick", outcome=outcome)
        if outcome == "on_target":
            self.tell("save", other, other.keeper, sub_type="save")

    def _chain(self, side: Side, other: Side) -> None:
        """A spell on the ball of one side, and how it ends."""
        player = side.anyone(self.rng)
        for _ in range(self.rng.randint(2, 8)):
            self.clock_s += self.rng.uniform(2.0, 6.0)
            kind = self.rng.choices(("pass", "carry", "duel"), (80, 12, 8))[0]
            more: dict[str, Any] = {"accurate": True} if kind == "pass" else {}
            if kind == "duel":
                more = {"sub_type": self.rng.choice(("ground", "aerial")), "outcome": "won"}
            self.tell(kind, side, player, **self._move(side), **more)
            if kind == "pass":
                player = side.anyone(self.rng, but=player)
        self.clock_s += self.rng.uniform(2, 10)
        self._lose(side, other, player)

    def _lose(self, side: Side, other: Side, player: str) -> None:
        x, y = self._ball
        here = {"x": x, "y": y}
        end = self.rng.choices(
            ("shot", "interception", "clearance", "foul", "offside", "ball_out"), (10, 35, 20, 14, 4, 17)
        )[0]
        if end == "shot":
            outcome = self.rng.choice(("on_target", "wide", "blocked"))
            self.tell("shot", side, player, x=self._towards(side, 36), y=y, outcome=outcome)
            if outcome == "on_target":
                self.tell("save", other, other.keeper, sub_type="save")
        elif end in ("offside", "ball_out"):
            self.tell(end, side, player, **here)
        else:
            self.tell(end, other, other.anyone(self.rng), **here)

    def _move(self, side: Side) -> dict[str, float]:
        """The ball moves, rather forwards."""
        x, y = self._ball
        forward = 1 if side is self.sides[0] else -1
        end_x = max(-HALF_LENGTH, min(HALF_LENGTH, x + forward * self.rng.gauss(4, 9)))
        end_y = max(-HALF_WIDTH, min(HALF_WIDTH, y + self.rng.gauss(0, 9)))
        self._ball = (round(end_x, 1), round(end_y, 1))
        return {"x": x, "y": y, "end_x": self._ball[0], "end_y": self._ball[1]}

    def _towards(self, side: Side, metres: float) -> float:
        return metres if side is self.sides[0] else -metres

    def _due_s(self) -> float:
        return self._played_s + self.clock_s - self._began_s

    def _post(self, incident: _Incident) -> None:
        """Somebody has an opinion."""
        said = self.items[-1].event
        text = {"goal": "What a goal!", "own_goal": "Oh no.", "shot": "That was never offside!"}.get(
            said["type"], "Hm."
        )
        author = self.rng.choice(("@kopend", "@tactics_ann", "@oldground"))
        event = {
            "source_event_id": f"p{self._number}",
            "type": "post",
            "payload": {"text": text, "lang": "en", "author": author},
        }
        self.items.append(Item(self._due_s() + self.rng.uniform(3, 20), "social", event))

    def _frames(self) -> None:
        """One frame a second for the first minutes, around the ball."""
        last = sum(item.source == "sensors" for item in self.items)
        if self.period != "first_half":
            return
        for second in range(last, min(FRAMES_S, int(self.clock_s))):
            players = [
                [p, *self._step(p, forward, place)]
                for side, forward in zip(self.sides, (1, -1), strict=True)
                for place, p in enumerate(side.on_pitch)
            ]
            frame = {"players": players, "ball": list(self._ball)}
            event = {"source_event_id": f"t{second}", "type": "tracking_frame", "payload": frame}
            self.items.append(Item(float(second), "sensors", event))

    def _step(self, player: str, forward: int, place: int) -> tuple[float, float]:
        """A player runs towards his place in the side, which leans to the ball; at most 6 m in a second."""
        row, column = divmod(place + 3, 4)
        home_x, home_y = forward * (-48 + 17 * row), -24 + 16 * column
        aim_x, aim_y = home_x + self._ball[0] * 0.4, home_y + self._ball[1] * 0.3
        x, y = self._where.get(player, (home_x, home_y))
        far = max(1.0, ((aim_x - x) ** 2 + (aim_y - y) ** 2) ** 0.5 / self.rng.uniform(1, 6))
        x, y = x + (aim_x - x) / far, y + (aim_y - y) / far
        x, y = max(-HALF_LENGTH, min(HALF_LENGTH, x)), max(-HALF_WIDTH, min(HALF_WIDTH, y))
        self._where[player] = (x, y)
        return round(x, 1), round(y, 1)


def _imperfect(rng: random.Random, items: list[Item]) -> list[Item]:
    """Late, doubled and revised records among the ordinary ones, then everything in sending order."""
    ordinary = [i for i in items if i.source == "broadcast" and i.event["type"] in ("pass", "carry", "duel")]
    late = set(map(id, rng.sample(ordinary, round(len(ordinary) * LATE))))
    sent = [i._replace(due_s=i.due_s + rng.uniform(5, 40)) if id(i) in late else i for i in items]
    for item in rng.sample(ordinary, round(len(ordinary) * TWICE)):
        sent.append(item._replace(due_s=item.due_s + rng.uniform(1, 60)))
    in_time = [i for i in ordinary if id(i) not in late]
    for item in rng.sample(in_time, round(len(ordinary) * REVISED)):
        end_x = item.event["payload"]["end_x"] + rng.choice((-2, -1, 1, 2))
        payload = item.event["payload"] | {"end_x": round(max(-HALF_LENGTH, min(HALF_LENGTH, end_x)), 1)}
        revised = item.event | {"revision": 1, "action": "update", "payload": payload}
        sent.append(Item(item.due_s + rng.uniform(5, 90), "broadcast", revised))
    return sorted(sent, key=lambda i: i.due_s)

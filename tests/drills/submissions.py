"""What a careless source sends, planned from a seed: new events, repeats, conflicts, revisions, and midnight. Pure.

Every submission has a number, which stands in the payload of what it sends: so one look at a payload says which
submission got where.
"""

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

Kind = Literal["new", "duplicate", "conflict", "revision"]
SHARES: dict[Kind, float] = {"duplicate": 0.05, "conflict": 0.01, "revision": 0.01}
MIDNIGHT = 0.01
"""Share of new events within a second of midnight UTC. Every conflict moves its event to the other day, half of them
such an event."""
APART = 150
"""A conflict stands at least so many submissions behind the event whose id it takes."""
SINGLES = 10
"""One request in so many holds a single submission."""
HOME, AWAY = "reds", "blues"


class Submission(NamedTuple):
    """One item: what it is, the submission whose id it has (itself when new), its match, and its bytes."""

    number: int
    kind: Kind
    original: int
    match_id: str
    item: bytes


class Request(NamedTuple):
    """Submissions that travel together, and the requests that must be accepted before."""

    submissions: tuple[Submission, ...]
    after: tuple[int, ...]


class Plan(NamedTuple):
    """Everything that is sent, in order, the ends of the matches last; and what must come of it, by number."""

    requests: tuple[Request, ...]
    matches: tuple[str, ...]
    size: int
    unique: frozenset[int]
    conflicts: frozenset[int]

    def cut(self, first: int) -> "Plan":
        """Only the first requests, and the ends."""
        ends = self.requests[-len(self.matches) :]
        return _planned(self.requests[: -len(self.matches)][:first], ends, self.matches)


def plan(size: int, *, seed: int, midnight: datetime, batch: int = 25, matches: int = 16, name: str = "m") -> Plan:
    """`size` submissions over `matches` matches; `midnight` is one in the past, from which on events occur."""
    rng = random.Random(seed)
    names = tuple(f"{name}{i}" for i in range(matches))
    counts = {kind: round(size * share) for kind, share in SHARES.items()}
    fresh = size - sum(counts.values()) - matches
    straddling = set(rng.sample(range(fresh), round(size * MIDNIGHT)))
    # Targets are disjoint: a repeat of an event whose conflict a node has seen first is refused by that node.
    early = [i for i in range(fresh - APART * 2) if i not in straddling]
    targets = iter(rng.sample(early, counts["duplicate"] + counts["conflict"] + counts["revision"]))
    at_midnight = iter(sorted(i for i in straddling if i < fresh - APART * 2)[: counts["conflict"] // 2])
    events = [_event(i, names[i % matches], i in straddling, midnight, rng) for i in range(fresh)]
    placed: list[tuple[float, Submission]] = [
        (i, Submission(i, "new", i, event["match_id"], _item(event, i))) for i, event in enumerate(events)
    ]
    number = fresh
    for kind, count in counts.items():
        for turn in range(count):
            original = next(at_midnight, None) if kind == "conflict" and turn % 2 else None
            original = next(targets) if original is None else original
            placed.append(_again(kind, number, original, events[original], midnight, fresh, rng))
            number += 1
    submissions = [one for _, one in sorted(placed, key=lambda one: one[0])]
    ends = [_end(number + i, match_id, midnight) for i, match_id in enumerate(names)]
    assert len(submissions) + len(ends) == size
    return _planned(_requests(submissions, batch), [Request((end,), ()) for end in ends], names)


def _planned(requests: Sequence[Request], ends: Sequence[Request], matches: tuple[str, ...]) -> Plan:
    everything = tuple(range(len(requests)))
    whole = (*requests, *(end._replace(after=everything) for end in ends))
    submissions = [one for request in whole for one in request.submissions]
    return Plan(
        requests=whole,
        matches=matches,
        size=len(submissions),
        unique=frozenset(s.number for s in submissions if s.kind in ("new", "revision")),
        conflicts=frozenset(s.number for s in submissions if s.kind == "conflict"),
    )


def declaration(match_id: str, starts_at: datetime) -> bytes:
    """The body that declares a match of a plan."""
    sides = {"home": {"id": HOME, "name": "Reds"}, "away": {"id": AWAY, "name": "Blues"}}
    return json.dumps({**sides, "starts_at": starts_at.isoformat()}).encode()


def _event(i: int, match_id: str, straddles: bool, midnight: datetime, rng: random.Random) -> dict[str, Any]:
    offset_s = rng.choice((-0.001, 0.0, 0.001, -1.0, 1.0)) if straddles else rng.uniform(2, 600)
    kind = rng.choices(("pass", "duel", "foul", "shot", "goal", "yellow_card"), (70, 15, 8, 4, 2, 1))[0]
    return {
        "match_id": match_id,
        "type": kind,
        "occurred_at": (midnight + timedelta(seconds=offset_s)).isoformat(),
        "source_event_id": f"s{i}",
        "team_id": rng.choice((HOME, AWAY)),
        "period": "first_half",
        "clock_s": min(2_700.0, i / 10),
    }


def _again(
    kind: Kind, number: int, original: int, event: dict[str, Any], midnight: datetime, fresh: int, rng: random.Random
) -> tuple[float, Submission]:
    """A second submission of an event, and where it stands among the new ones."""
    match_id = event["match_id"]
    if kind == "duplicate":
        # Half come at once, which is when two nodes have them at the same time.
        place = original + (rng.uniform(0, 1) if rng.random() < 0.5 else rng.uniform(1, fresh - original))
        return place, Submission(number, kind, original, match_id, _item(event, original))
    place = original + APART + rng.uniform(0, fresh - original - APART)
    if kind == "revision":
        changed = {**event, "revision": 1, "action": rng.choice(("update", "delete"))}
        return place, Submission(number, kind, number, match_id, _item(changed, number))
    other_day = 1 if datetime.fromisoformat(event["occurred_at"]) < midnight else -1
    moved = {**event, "occurred_at": (midnight + timedelta(seconds=other_day * rng.uniform(0.001, 5))).isoformat()}
    return place, Submission(number, kind, original, match_id, _item(moved, number))


def _end(number: int, match_id: str, midnight: datetime) -> Submission:
    """The match is over: from here on every view of its sheet is the same."""
    event = {
        "match_id": match_id,
        "type": "match_end",
        "occurred_at": (midnight + timedelta(minutes=11)).isoformat(),
        "source_event_id": "end",
        "period": "first_half",
        "clock_s": 2_700.0,
    }
    return Submission(number, "new", number, match_id, _item(event, number))


def _item(event: dict[str, Any], number: int) -> bytes:
    return json.dumps({**event, "payload": {"n": number}}).encode()


def _requests(submissions: Sequence[Submission], batch: int) -> list[Request]:
    requests: list[Request] = []
    came_in: dict[int, int] = {}
    at = 0
    while at < len(submissions):
        part = tuple(submissions[at : at + (1 if len(requests) % SINGLES == 0 else batch)])
        at += len(part)
        after = sorted({came_in[s.original] for s in part if s.kind == "conflict"})
        for one in part:
            if one.kind == "new":
                came_in[one.number] = len(requests)
        requests.append(Request(part, tuple(after)))
    return requests

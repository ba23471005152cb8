"""What a client that takes less than there is gets in place of everything: pure functions over a page of events.

Step by step less of it: of bulk the latest of each thing, then the state in place of what led to it. Critical events
are always left in, and whatever is left out is told.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from eventhub.delivery.past import Entry
from eventhub.delivery.view import LANES


class Skipped(NamedTuple):
    """So many events of a lane that were left out, and the offsets of the first and the last."""

    lane: str
    events: int
    first: int
    last: int


class Left(NamedTuple):
    """A page with less in it: what is left, offsets ascending, and what is not."""

    entries: list[Entry]
    skipped: list[Skipped]


class _Thing(msgspec.Struct, frozen=True):
    """What an event of the bulk lane is about: a later one about the same replaces it. `of`: the event it revises."""

    match_id: str
    type: str
    team_id: str | None = None
    player_id: str | None = None
    of: str | None = None


_thing = msgspec.json.Decoder(_Thing).decode


def conflate(entries: Sequence[Entry]) -> Left:
    """Of bulk only the latest of each thing; what revises another event stays."""
    seen: set[_Thing] = set()

    def is_latest(entry: Entry) -> bool:
        if entry.kind[:1] != "b":
            return True
        thing = _thing(entry.value)
        latest = thing not in seen
        seen.add(thing)
        return latest or thing.of is not None

    return _leave([(entry, is_latest(entry)) for entry in reversed(entries)][::-1])


def only_critical(entries: Iterable[Entry]) -> Left:
    """What must reach everybody, when a state stands in for the rest."""
    return _leave([(entry, entry.kind[:1] == "c") for entry in entries])


def _leave(judged: Sequence[tuple[Entry, bool]]) -> Left:
    left = [entry for entry, stays in judged if stays]
    by_lane: dict[str, list[int]] = {}
    for entry, stays in judged:
        if not stays:
            by_lane.setdefault(LANES.get(entry.kind[:1], "normal"), []).append(entry.offset)
    return Left(left, [Skipped(lane, len(found), found[0], found[-1]) for lane, found in by_lane.items()])

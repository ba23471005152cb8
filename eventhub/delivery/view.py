"""A view: which events of a channel a subscriber wants. Read from a record's kind, so that no value is decoded."""

from collections.abc import Sequence
from typing import NamedTuple

from eventhub.errors import MalformedError
from eventhub.events import TYPES

LANES = {"c": "critical", "n": "normal", "b": "bulk"}


class View(NamedTuple):
    """Lanes and types that pass; None: all of them. Both must hold."""

    lanes: frozenset[str] | None = None
    types: frozenset[str] | None = None

    def passes(self, kind: str, revises: str = "") -> bool:
        """Whether an event of this kind (`c:goal`: lane letter, colon, type) is wanted.

        Also when only one of the kinds in `revises` is: who was shown a goal is told that it was none.
        """
        kinds = [kind, *revises.split(",")] if revises else [kind]
        return any(self.wants(LANES.get(one[:1], "normal"), one[2:]) for one in kinds)

    def wants(self, lane: str, event_type: str) -> bool:
        """Whether an event of this lane and type is wanted."""
        return (self.lanes is None or lane in self.lanes) and (self.types is None or event_type in self.types)

    def told(self) -> dict[str, list[str] | None]:
        """The view as the answer to a subscribe names it."""
        return {
            "lanes": None if self.lanes is None else sorted(self.lanes),
            "types": None if self.types is None else sorted(self.types),
        }


ALL = View()


def view_of(lanes: Sequence[str], types: Sequence[str]) -> View:
    """The view that a client asks for; empty means all. Raises MalformedError for names out of the vocabulary."""
    for lane in lanes:
        if lane not in LANES.values():
            raise MalformedError(f"there is no lane {lane[:40]!r}; lanes are {', '.join(LANES.values())}")
    for name in types:
        if name not in TYPES:
            raise MalformedError(f"there is no event type {name[:40]!r}", code="unknown_type")
    return View(frozenset(lanes) or None, frozenset(types) or None)

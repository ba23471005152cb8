"""Adapters: one small file a provider, found by the entry point group `eventhub.adapters`.

An adapter is a function of one record and the declared match, without clock or memory, so that the same record is the
same event on every node and at any time. `contract.check` holds every installed adapter to it, with golden files.
docs/add-a-provider.md shows how to write one.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import msgspec

from eventhub.events import Incoming, Match, Source

GROUP = "eventhub.adapters"


class Feed(msgspec.Struct):
    """A provider's file, ready to be replayed.

    `declaration` is the body of `PUT /v1/matches/{id}` without starts_at, empty where the file does not say who plays;
    `records` are the provider's own bytes, each with its period and its second on the match clock. `periods` have
    their name, first and last second, in order; only a broadcast feed has them, and its records are in file order.
    A feed is `dated` when its records carry their own date, so that the match's start does not move them: their seconds
    then count from the first of them.
    """

    declaration: dict[str, Any]
    records: list[tuple[str, float, bytes]]
    periods: list[tuple[str, float, float]] = []
    dated: bool = False


class Adapter(Protocol):
    """The form in which every provider is added; made without arguments."""

    provider: str
    source: Source

    def map(self, record: bytes, match: Match) -> Incoming:
        """The canonical event of one record; raises RejectedError with code and pointer. Pure."""

    def read(self, path: Path) -> Feed:
        """A file of this provider; raises MalformedError naming the file and the place."""


def load() -> dict[str, Adapter]:
    """Every installed adapter by the name of its provider."""
    return {entry.name: entry.load()() for entry in entry_points(group=GROUP)}

"""Adapters: one small file a provider, found by the entry point group `eventhub.adapters`.

An adapter is a function of one record and the declared match, without clock or memory, so that the same record is the
same event on every node and at any time. Its contract is tested for every adapter that is installed, with golden files.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import msgspec

from eventhub.events import Incoming, Match

GROUP = "eventhub.adapters"


class Feed(msgspec.Struct):
    """A provider's file, ready to be replayed.

    `declaration` is the body of `PUT /v1/matches/{id}` without starts_at; `records` are the provider's own bytes in
    file order, each with its period and its second on the match clock; `periods` have their name, first and last
    second.
    """

    declaration: dict[str, Any]
    records: list[tuple[str, float, bytes]]
    periods: list[tuple[str, float, float]]


class Adapter(Protocol):
    """The form in which every provider is added."""

    provider: str
    source: str

    def map(self, record: bytes, match: Match) -> Incoming:
        """The canonical event of one record; raises RejectedError with code and pointer. Pure."""

    def read(self, path: Path) -> Feed:
        """A file of this provider; raises MalformedError naming the file and the place."""


def load() -> dict[str, Adapter]:
    """Every installed adapter by the name of its provider."""
    return {entry.name: entry.load()() for entry in entry_points(group=GROUP)}

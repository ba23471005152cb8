"""Channels: `match:{id}`, and `team:{id}` for all matches that a team plays in."""

from collections.abc import Callable
from typing import NamedTuple

from eventhub.delivery.ports import Registry
from eventhub.errors import NotFoundError
from eventhub.events import ID_CHARS

MATCH, TEAM = "match", "team"


class Name(NamedTuple):
    """A channel's kind and whom it is about."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}"


class Channels:
    """Which matches a channel has now, by the registry. Answers are cheap enough for every frame."""

    def __init__(self, registry: Registry, partition_of: Callable[[str], int]) -> None:
        self._registry = registry
        self._partition_of = partition_of
        self._teams: dict[str, list[str]] = {}
        self._indexed = -1

    def name(self, text: str) -> Name:
        """The channel of this name. Raises NotFoundError with the code `unknown_channel`."""
        kind, _, subject = text.partition(":")
        name = Name(kind, subject)
        if not (kind == MATCH and subject in self._registry) and not (kind == TEAM and self.matches(name)):
            raise NotFoundError(
                f"there is no channel {text[:80]!r}; channels are match:ID and team:ID of declared matches",
                pointer="/channel",
                code="unknown_channel",
            )
        return name

    def may_be(self, text: str) -> bool:
        """Whether a match that is not known here, as one that another node has just declared, could make it one."""
        kind, _, subject = text.partition(":")
        return kind in (MATCH, TEAM) and 1 <= len(subject) <= ID_CHARS and subject.isprintable()

    def matches(self, name: Name) -> list[str]:
        """The ids of the channel's matches."""
        if name.kind == MATCH:
            return [name.subject]
        # Matches are added, seldom changed: a registry of the same size has the same teams.
        if len(self._registry) != self._indexed:
            self._index()
        return self._teams.get(name.subject, [])

    def groups(self, name: Name) -> dict[int, list[str]]:
        """The channel's matches by partition."""
        found: dict[int, list[str]] = {}
        for match_id in self.matches(name):
            found.setdefault(self._partition_of(match_id), []).append(match_id)
        return found

    def _index(self) -> None:
        teams: dict[str, list[str]] = {}
        for match_id, match in self._registry.items():
            teams.setdefault(match.home.id, []).append(match_id)
            if match.away.id != match.home.id:
                teams.setdefault(match.away.id, []).append(match_id)
        self._teams, self._indexed = teams, len(self._registry)

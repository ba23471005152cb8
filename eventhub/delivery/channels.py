"""Channels: `match:{id}`, `team:{id}` for all matches that a team plays in, and of states only `competition:{id}`
and `scores`, which has all matches."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from eventhub.delivery.ports import Registry
from eventhub.errors import NotFoundError
from eventhub.events import ID_CHARS

MATCH, TEAM, COMPETITION, SCORES = "match", "team", "competition", "scores"
KINDS = (MATCH, TEAM, COMPETITION, SCORES)
STATES_ONLY = (COMPETITION, SCORES)


class Name(NamedTuple):
    """A channel's kind and whom it is about."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.subject}" if self.kind != SCORES else SCORES


class Channels:
    """Which matches a channel has now, by the registry. Answers are cheap enough for every frame."""

    def __init__(self, registry: Registry, partition_of: Callable[[str], int]) -> None:
        self._registry = registry
        self._partition_of = partition_of
        self._teams: dict[str, list[str]] = {}
        self._competitions: dict[str, list[str]] = {}
        self._indexed = -1

    def name(self, text: str) -> Name:
        """The channel of this name. Raises NotFoundError with the code `unknown_channel`."""
        kind, colon, subject = text.partition(":")
        name = Name(kind, subject)
        known = not colon if kind == SCORES else kind in (MATCH, TEAM, COMPETITION) and bool(self.matches(name))
        if not known:
            raise NotFoundError(
                f"there is no channel {text[:80]!r}; channels are scores, and match:ID, team:ID and competition:ID of"
                " declared matches",
                pointer="/channel",
                code="unknown_channel",
            )
        return name

    def may_be(self, text: str) -> bool:
        """Whether a match that is not known here, as one that another node has just declared, could make it one."""
        kind, _, subject = text.partition(":")
        return kind in (MATCH, TEAM, COMPETITION) and 1 <= len(subject) <= ID_CHARS and subject.isprintable()

    def matches(self, name: Name) -> list[str]:
        """The ids of the channel's matches."""
        if name.kind == MATCH:
            return [name.subject] if name.subject in self._registry else []
        if name.kind == SCORES:
            return list(self._registry)
        # Matches are added, seldom changed: a registry of the same size has the same teams.
        if len(self._registry) != self._indexed:
            self._index()
        return (self._teams if name.kind == TEAM else self._competitions).get(name.subject, [])

    def of_state(self, match_id: str) -> list[Name]:
        """The channels of states that a match belongs to."""
        match = self._registry.get(match_id)
        competition = match.competition if match is not None else None
        return [Name(SCORES, ""), *([Name(COMPETITION, competition)] if competition is not None else [])]

    def delay_s(self, name: Name) -> float:
        """The longest delay that a match of this channel was declared with, in seconds; channels of states have none.

        Those leave out what is too slow for them instead: else one match would delay every score.
        """
        if name.kind in STATES_ONLY:
            return 0
        return max((self._registry[match_id].delay_s for match_id in self.matches(name)), default=0)

    def delay_of(self, match_id: str) -> float:
        """The delay that a declared match has, in seconds."""
        return self._registry[match_id].delay_s

    def starts_at(self, match_id: str) -> datetime:
        """When a declared match starts."""
        return self._registry[match_id].starts_at

    def groups(self, name: Name) -> dict[int, list[str]]:
        """The channel's matches by partition."""
        found: dict[int, list[str]] = {}
        for match_id in self.matches(name):
            found.setdefault(self._partition_of(match_id), []).append(match_id)
        return found

    def _index(self) -> None:
        teams: dict[str, list[str]] = {}
        competitions: dict[str, list[str]] = {}
        for match_id, match in self._registry.items():
            teams.setdefault(match.home.id, []).append(match_id)
            if match.away.id != match.home.id:
                teams.setdefault(match.away.id, []).append(match_id)
            if match.competition is not None:
                competitions.setdefault(match.competition, []).append(match_id)
        self._teams, self._competitions, self._indexed = teams, competitions, len(self._registry)

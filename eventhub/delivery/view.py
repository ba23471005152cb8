"""A view: which events of a channel a subscriber wants. Read from a record's kind, so that no value is decoded."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventhub.errors import MalformedError
from eventhub.events import TYPES

LANES = {"c": "critical", "n": "normal", "b": "bulk"}
TRANSLATION = "translation"
ANY = "*"
_RANGE = re.compile(r"\*|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}", re.ASCII)


class View(NamedTuple):
    """Lanes and types that pass; None: all of them. Both must hold. Translations pass in `languages` only.

    A language is a range of RFC 4647 (3.3.1): `de` is `de-CH` too, `*` is every one.
    """

    lanes: frozenset[str] | None = None
    types: frozenset[str] | None = None
    languages: frozenset[str] = frozenset()

    def passes(self, kind: str, revises: str = "") -> bool:
        """Whether an event of this kind (`c:goal`: lane letter, colon, type) is wanted.

        Also when only one of the kinds in `revises` is: who was shown a goal is told that it was none.
        """
        kinds = [kind, *revises.split(",")] if revises else [kind]
        return any(self.wants(LANES.get(one[:1], "normal"), one[2:]) for one in kinds)

    def wants(self, lane: str, event_type: str) -> bool:
        """Whether an event of this lane and type is wanted; a translation's type has its language: `translation/de`."""
        name, _, language = event_type.partition("/")
        if name == TRANSLATION and not self._speaks(language.lower()):
            return False
        return (self.lanes is None or lane in self.lanes) and (self.types is None or name in self.types)

    def wider(self) -> "View":
        """What everything that this one lets pass passes, and which few others differ from."""
        return WIDEST if self.languages else ALL

    def told(self) -> dict[str, list[str] | None]:
        """The view as the answer to a subscribe names it."""
        return {
            "lanes": None if self.lanes is None else sorted(self.lanes),
            "types": None if self.types is None else sorted(self.types),
            "languages": sorted(self.languages),
        }

    def filter(self) -> Callable[[str, str], bool]:
        """`passes`, for many events of few kinds."""
        known: dict[tuple[str, str], bool] = {}

        def passes(kind: str, revises: str) -> bool:
            found = known.get((kind, revises))
            if found is None:
                found = known[kind, revises] = self.passes(kind, revises)
            return found

        return passes

    def _speaks(self, language: str) -> bool:
        return any(one in (ANY, language) or language.startswith(f"{one}-") for one in self.languages)


ALL = View()
"""Everything but translations, which only those get who ask for a language."""
WIDEST = View(languages=frozenset((ANY,)))


def view_of(lanes: Sequence[str], types: Sequence[str], languages: Sequence[str] = ()) -> View:
    """The view that a client asks for; empty means all, and no translation.

    Raises MalformedError for names out of the vocabulary, and for what is no range of languages.
    """
    for lane in lanes:
        if lane not in LANES.values():
            raise MalformedError(f"there is no lane {lane[:40]!r}; lanes are {', '.join(LANES.values())}")
    for name in types:
        if name not in TYPES:
            raise MalformedError(f"there is no event type {name[:40]!r}", code="unknown_type")
    for language in languages:
        if not _RANGE.fullmatch(language):
            raise MalformedError(
                f"{language[:40]!r} is no language; write it as in BCP 47: de, pt-BR, or * for every one"
            )
    return View(frozenset(lanes) or None, frozenset(types) or None, frozenset(map(str.lower, languages)))

"""What the generated match is made of: the items to send, and what they tell in the end. Pure."""

from typing import Any, NamedTuple


class Item(NamedTuple):
    """One event to send `due_s` seconds of playing time after kick-off; no match_id and no occurred_at yet."""

    due_s: float
    source: str
    event: dict[str, Any]


class Result(NamedTuple):
    """One side in the end, as the story tells it: a second yellow card is a yellow and a red one."""

    score: int
    shootout: int
    yellow_cards: int
    red_cards: int


class Told(NamedTuple):
    """The end of the story, kept apart from its items so that a fold over them can be compared."""

    home: Result
    away: Result


class Demo(NamedTuple):
    """A whole match: its declaration without starts_at, its items in sending order, and how it ends.

    `roles` maps every player's id to keeper, defender, midfielder or forward.
    """

    declaration: dict[str, Any]
    items: list[Item]
    told: Told
    roles: dict[str, str]

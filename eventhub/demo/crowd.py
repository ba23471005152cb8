"""Posts of the crowd about what happened: more after goals, in eight languages, from invented handles. Pure."""

import random
from collections.abc import Sequence

from eventhub.demo.game import Talk
from eventhub.demo.items import Item
from eventhub.demo.phrases import HANDLES, PHRASES

HOW_MANY = {
    "goal": (5, 9),
    "own_goal": (4, 7),
    "taken_back": (4, 7),
    "penalty": (2, 4),
    "missed": (2, 4),
    "yellow_card": (1, 2),
    "second_yellow_card": (4, 6),
    "red_card": (4, 6),
    "substitution": (0, 1),
    "over": (2, 3),
    "won": (6, 9),
}
CHAT_EVERY_S = 240
SOON_S, LONGEST_S = 14.0, 45.0
LANGS = {"en": 6, "es": 4, "de": 3, "fr": 3, "pt": 3, "it": 2, "ja": 3, "ar": 3}


def posts(rng: random.Random, talk: Sequence[Talk]) -> list[Item]:
    """All posts of a match, each 3 to 48 s after what it is about."""
    clubs = sorted({said.club for said in talk})
    # Nobody chats after the last thing that happened.
    ends_s = int(talk[-1].due_s)
    idle = [Talk(float(at_s), "chat", rng.choice(clubs), "") for at_s in range(60, ends_s, CHAT_EVERY_S)]
    said = [
        (about.due_s + 3 + min(LONGEST_S, rng.expovariate(1 / SOON_S)), lang, handle, about)
        for about in (*talk, *idle)
        for lang, handle in _people(rng, rng.randint(*HOW_MANY.get(about.kind, (0, 1))))
    ]
    return [
        Item(due_s, "social", _post(number, lang, handle, rng.choice(PHRASES[lang][about.kind]), about))
        for number, (due_s, lang, handle, about) in enumerate(said)
    ]


def _people(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """So many different handles, with the language of each."""
    people = [(lang, handle) for lang, handles in HANDLES.items() for handle in handles.split()]
    weights = [LANGS[lang] / len(HANDLES[lang].split()) for lang, _ in people]
    chosen: dict[tuple[str, str], None] = {}
    while len(chosen) < count:
        chosen[rng.choices(people, weights)[0]] = None
    return list(chosen)


def _post(number: int, lang: str, handle: str, phrase: str, about: Talk) -> dict[str, object]:
    text = phrase.format(p=about.name.split(" ", 1)[-1], c=about.club)
    return {
        "source_event_id": f"p{number}",
        "type": "post",
        "payload": {"text": text, "lang": lang, "author": handle},
    }

"""Two invented clubs and who of them is on the pitch."""

import random
from typing import Any

from eventhub.events import Player, Team

HOME, AWAY = Team("harbour", "Harbour Lights"), Team("miners", "Upland Miners")
SQUAD, ELEVEN = 18, 11
_FIRST = tuple(
    [
        "Ada",
        "Bo",
        "Cato",
        "Dag",
        "Eli",
        "Finn",
        "Gus",
        "Hal",
        "Ike",
        "Jan",
        "Kit",
        "Leo",
        "Max",
        "Ned",
        "Oz",
        "Pim",
        "Quin",
        "Rex",
        "Sid",
        "Tor",
        "Uwe",
        "Vic",
        "Wim",
        "Yan",
        "Zeb",
    ]
)
_LAST = tuple(
    [
        "Abara",
        "Birch",
        "Cortez",
        "Dunn",
        "Eskola",
        "Falk",
        "Grieve",
        "Hale",
        "Ivers",
        "Juarez",
        "Kemp",
        "Lund",
        "Moss",
        "Nagy",
        "Okoro",
        "Pryde",
        "Quill",
        "Rossi",
        "Sato",
        "Thorn",
        "Umar",
        "Vance",
        "Weir",
        "Xu",
        "Yates",
        "Zeller",
        "Alder",
        "Brook",
        "Croft",
        "Dale",
        "Elm",
        "Firth",
        "Glen",
        "Heath",
        "Isle",
        "Jura",
    ]
)


class Side:
    """One team during the match: the goalkeeper first, then ten in the field."""

    def __init__(self, team: Team, rng: random.Random, names: list[str]) -> None:
        self.team = team
        self.squad = [Player(f"{team.id}-{n + 1}", f"{rng.choice(_FIRST)} {names[n]}", team.id) for n in range(SQUAD)]
        self.on_pitch = [p.id for p in self.squad[:ELEVEN]]
        self.bench = [p.id for p in self.squad[ELEVEN:]]

    @property
    def keeper(self) -> str:
        """The goalkeeper's id."""
        return self.on_pitch[0]

    def anyone(self, rng: random.Random, *, but: str | None = None) -> str:
        """A field player's id."""
        return rng.choice([p for p in self.on_pitch[1:] if p != but])

    def substitute(self, rng: random.Random) -> tuple[str, str]:
        """Swap a field player; returns who went and who came."""
        out, into = self.anyone(rng), self.bench.pop(0)
        self.on_pitch[self.on_pitch.index(out)] = into
        return out, into

    def send_off(self, player_id: str) -> None:
        """One man fewer."""
        self.on_pitch.remove(player_id)


def sides(rng: random.Random) -> tuple[Side, Side]:
    """Home and away with the names of this seed."""
    names = rng.sample(_LAST, 2 * SQUAD)
    return Side(HOME, rng, names[:SQUAD]), Side(AWAY, rng, names[SQUAD:])


def declaration(home: Side, away: Side) -> dict[str, Any]:
    """The body of the match's declaration, without its start."""
    return {
        "home": {"id": home.team.id, "name": home.team.name},
        "away": {"id": away.team.id, "name": away.team.name},
        "competition": "Generated Cup",
        "players": [{"id": p.id, "name": p.name, "team_id": p.team_id} for p in (*home.squad, *away.squad)],
    }

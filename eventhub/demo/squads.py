"""Invented clubs and players: who plays for whom, in which role, and who is on the pitch. Pure."""

import random
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from eventhub.demo.pitch import Spot
from eventhub.events import Player, Team

KEEPER, DEFENDER, MIDFIELDER, FORWARD = "keeper", "defender", "midfielder", "forward"
BENCH = (KEEPER, *(DEFENDER,) * 3, *(MIDFIELDER,) * 3, *(FORWARD,) * 2)
FROM_HOME = 0.65
KEEPER_PLACE: Spot = (6.0, 0.0)


class Club(NamedTuple):
    """An invented club; most of its players have names of its language."""

    id: str
    name: str
    lang: str


CLUBS = (
    Club("harbour", "Harbour Lights", "en"),
    Club("miners", "Upland Miners", "en"),
    Club("hollowmere", "Hollowmere Rovers", "en"),
    Club("valdebruma", "Unión Valdebruma", "es"),
    Club("nebelheim", "Fortuna Nebelheim", "de"),
    Club("eulenbruck", "SV Eulenbrück", "de"),
    Club("brumeval", "Étoile Brumeval", "fr"),
    Club("serramar", "Atlético Serramar", "pt"),
    Club("collebruno", "Virtus Collebruno", "it"),
    Club("kazehama", "Kazehama Cranes", "ja"),
    Club("rimal", "Najm al-Rimal", "ar"),
    Club("isfjall", "Ísfjall BK", "nordic"),
)

_FIRST = {
    "en": "Alfie Callum Dexter Ewan Fraser Jonty Kieran Lewin Moses Rory Tobias Wilf Zack Jude",
    "es": "Álvaro Bruno César Darío Elías Fermín Gonzalo Íñigo Joaquín Lázaro Matías Óscar Rubén Tomás",
    "de": "Arne Björn Dierk Emil Falk Götz Henning Jürgen Kilian Lennart Moritz Rüdiger Sönke Till",
    "fr": "Aurélien Baptiste Cédric Désiré Étienne Fabrice Gaël Jérémie Loïc Maël Noé Rémi Théo Yannick",
    "pt": "Abílio Caetano Dinis Estêvão Fábio Gonçalo Inácio João Leandro Márcio Nélson Rúben Simão Zeca",
    "it": "Alvise Cosimo Dario Elio Fulvio Gennaro Ivano Lapo Mirko Nicolò Renzo Silvio Tiziano Ugo",
    "ja": "Daichi Fumiya Haruki Itsuki Kaito Kenshō Minato Naoki Ren Ryōta Sōta Takumi Yūto Yōhei",
    "ar": "Anas Bilal Faris Hamza Idris Jalal Karim Mounir Nabil Rachid Samir Tarek Walid Ziad",
    "nordic": "Aksel Bjørn Einar Frode Gísli Håkon Jökull Kåre Lárus Magnús Njáll Søren Þórir Åsmund",
}
_LAST = {
    "en": "Abery Birchall Cottle Dunmow Everleigh Farrow Grieve Haskett Ivers Kempson Lundy Mossop Pryde Quillan "
    "Thorne Winstow",
    "es": "Aldecoa Bañares Cifuentes Durán Echániz Fuenmayor Garrote Iñíguez Labrada Montañés Núñez Ordóñez Peñalba "
    "Quirós Sariñena Urquía",
    "de": "Ahlgrimm Böttger Dörfler Eschbach Fährmann Grünewald Hölzer Jäckel Köster Lüders Mühlberg Oßwald Rößler "
    "Schönfeld Übelacker Wöhrle",
    "fr": "Ardouin Bréchet Chénier Delorme Évrard Fougères Guérin Hébrard Jaubert Lagrèze Maréchal Péguy Rousselet "
    "Sénéchal Thévenot Vauquelin",
    "pt": "Abrantes Brandão Conceição Durães Esteves Falcão Galvão Igrejas Leitão Magalhães Negrão Ourém Piçarra "
    "Quintão Sabrosa Valadão",
    "it": "Agnolin Bellandi Cortemiglia Dall'Orso Fanzago Ghirlanda Lovisolo Marzotti Nardò Orsenigo Pescatori "
    "Quaglini Rovigatti Santarcà Tessitore Vanzetta",
    "ja": "Aokawa Fujinami Hayasaka Ishikuro Kanemori Kuronuma Matsushiro Nishidōri Ōkubora Sakakura Shiratori "
    "Takehara Uenoyama Wakamiya Yūki Zushida",
    "ar": "Abdennour Benchekra El-Fassari Ghannouj Haddadi Jebrane Khattabi Lamrabi Mansouri Nasrallah Ouazza Qasimi "
    "Rahmouni Sefrioui Tazi Zerouali",
    "nordic": "Aasgård Bergström Dahlgård Eiríksson Fjellstad Grøndal Hjälmqvist Ingebrekt Kårstad Lindqvang Møgeltoft "
    "Nygård Ödlund Rønningen Sæther Þorgeirs",
}
_SHAPES: tuple[tuple[tuple[str, float, tuple[float, ...]], ...], ...] = (
    ((DEFENDER, 33, (-23, -8, 8, 23)), (MIDFIELDER, 50, (-24, -8, 8, 24)), (FORWARD, 68, (-8, 8))),
    ((DEFENDER, 33, (-23, -8, 8, 23)), (MIDFIELDER, 48, (-14, 0, 14)), (FORWARD, 66, (-21, 0, 21))),
    ((DEFENDER, 32, (-16, 0, 16)), (MIDFIELDER, 49, (-26, -11, 0, 11, 26)), (FORWARD, 68, (-8, 8))),
    (
        (DEFENDER, 33, (-23, -8, 8, 23)),
        (MIDFIELDER, 43, (-9, 9)),
        (MIDFIELDER, 58, (-22, 0, 22)),
        (FORWARD, 69, (0,)),
    ),
)
"""Formations, from the back: role, depth in metres, and y of each place."""


class Side:
    """One team during the match: the goalkeeper first, then the field players who are on the pitch."""

    def __init__(self, number: int, club: Club, shape: int, names: list[str]) -> None:
        self.number = number
        self.forward = 1 if number == 0 else -1
        self.team = Team(club.id, club.name)
        places = [(role, (depth, y)) for role, depth, row in _SHAPES[shape] for y in row]
        roles = [KEEPER, *(role for role, _ in places), *BENCH]
        self.squad = [Player(f"{club.id}-{n + 1}", name, club.id) for n, name in enumerate(names)]
        ids = [p.id for p in self.squad]
        self.role = dict(zip(ids, roles, strict=True))
        self.place: dict[str, Spot] = dict(zip(ids, [KEEPER_PLACE, *(place for _, place in places)], strict=False))
        self.on_pitch, self.bench = ids[: len(self.place)], ids[len(self.place) :]
        self.cautioned: set[str] = set()
        self.stays: set[str] = set()

    @property
    def keeper(self) -> str:
        """The goalkeeper's id."""
        return self.on_pitch[0]

    def pick(self, rng: random.Random, by_role: Mapping[str, float], but: Collection[str] = ()) -> str:
        """Somebody on the pitch, by the weights of the roles."""
        of = [p for p in self.on_pitch if p not in but and by_role.get(self.role[p], 0) > 0]
        return rng.choices(of, [by_role[self.role[p]] for p in of])[0]

    def substitute(self, rng: random.Random) -> tuple[str, str]:
        """Swap a field player, like for like where the bench has one; returns who went and who came."""
        # Who has come does not go again.
        came = [p.id for p in self.squad[-len(BENCH) :]]
        out = self.pick(rng, {DEFENDER: 1, MIDFIELDER: 3, FORWARD: 3}, but={*came, *self.stays})
        field = [p for p in self.bench if self.role[p] != KEEPER]
        alike = [p for p in field if self.role[p] == self.role[out]]
        into = rng.choice(alike or field)
        self.bench.remove(into)
        self.place[into] = self.place[out]
        self.on_pitch[self.on_pitch.index(out)] = into
        return out, into

    def send_off(self, player_id: str) -> None:
        """One man fewer."""
        self.on_pitch.remove(player_id)


def sides(rng: random.Random) -> tuple[Side, Side]:
    """Home and away of this seed; nobody shares a family name."""
    taken: set[str] = set()
    home, away = (
        Side(number, club, rng.randrange(len(_SHAPES)), [_name(rng, club, taken) for _ in range(11 + len(BENCH))])
        for number, club in enumerate(rng.sample(CLUBS, 2))
    )
    return home, away


def _name(rng: random.Random, club: Club, taken: set[str]) -> str:
    while True:
        lang = club.lang if rng.random() < FROM_HOME else rng.choice(list(_LAST))
        last = rng.choice(_LAST[lang].split())
        if last not in taken:
            taken.add(last)
            return f"{rng.choice(_FIRST[lang].split())} {last}"


def declaration(home: Side, away: Side) -> dict[str, Any]:
    """The body of the match's declaration, without its start."""
    return {
        "home": {"id": home.team.id, "name": home.team.name},
        "away": {"id": away.team.id, "name": away.team.name},
        "competition": "Generated Cup",
        "players": [{"id": p.id, "name": p.name, "team_id": p.team_id} for p in (*home.squad, *away.squad)],
    }

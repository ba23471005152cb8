"""Declaring matches: `PUT /v1/matches/{match_id}` writes `match-registry`, from which every node knows it."""

from collections.abc import Iterator
from datetime import UTC
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from eventhub import topics, web
from eventhub.errors import ConflictError, MalformedError, RejectedError
from eventhub.events import ID_CHARS, Match, Moment, Name, Player, Team
from eventhub.ingest.accept import pointer
from eventhub.ingest.ports import Node
from eventhub.record import Outgoing

MAX_BYTES = 262_144
MAX_PLAYERS = 200
MAX_TEXT = 200
YEARS = (1800, 2200)
"""Of starts_at: hours can be added to it, and it can be written in UTC."""


class Declaration(msgspec.Struct, forbid_unknown_fields=True):
    """The body of the request."""

    home: Team
    away: Team
    starts_at: Moment
    players: Annotated[list[Player], msgspec.Meta(max_length=MAX_PLAYERS)] = []
    competition: Name | None = None
    delay_s: float = 0


_declaration = msgspec.json.Decoder(Declaration)
_registered = msgspec.json.Decoder(Match)


class Registry(dict[str, Match]):
    """Every declared match by its id, folded from `match-registry`."""

    def fold(self, match_id: str, value: bytes | None) -> None:
        """Take one record of the topic."""
        if value is None:
            self.pop(match_id, None)
        else:
            self[match_id] = _registered.decode(value)


async def put_match(node: Node, request: Request) -> Response:
    """Declare a match; 201 when it is new, 200 when it was there (changed or the same).

    `If-None-Match: *` declares only a new one: 412 with the declared match in `match` otherwise. Returns once this node
    knows the match; every other one asks the same topic before it refuses a match as unknown. 503 with Retry-After
    while the platform is read-only.
    """
    node.keys.check(request.headers.get("authorization"), "admin")
    node.mode.check()
    match_id = request.path_params["match_id"]
    _check_id(match_id, None)
    body = await web.read_body(request, MAX_BYTES)
    known = node.registry.get(match_id)
    if known is not None and request.headers.get("if-none-match") == "*":
        error = ConflictError(f"match {match_id} is declared already, starting at {known.starts_at.isoformat()}")
        return web.problem(error, match=known)
    match = _match(match_id, body)
    may = node.limits.match_delays_s
    if match.delay_s and match.delay_s not in may:
        raise RejectedError(
            f"delay_s is {match.delay_s:g}; a match may have {', '.join(f'{d:g}' for d in (0, *may))}, and the operator"
            " adds others to delivery.match_delays_s",
            code="unknown_delay",
            pointer="/delay_s",
        )
    if match != known:
        record = Outgoing(match_id.encode(), msgspec.json.encode(match), [])
        partition = node.partitioner(match_id)
        await node.writer.append(topics.REGISTRY, partition, [record], timeout_s=node.limits.ack_timeout_s)
        await node.registry_caught_up()
    return web.reply(match, 201 if known is None else 200)


def _match(match_id: str, body: bytes) -> Match:
    try:
        told = _declaration.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        text = str(error)[:200]
        raise MalformedError(f"the match cannot be read: {text}", pointer=pointer(text)) from error
    _check(told)
    if told.home.id == told.away.id:
        raise RejectedError(f"both sides are {told.home.id!r}", code="unknown_team", pointer="/away/id")
    sides = {told.home.id, told.away.id}
    for index, player in enumerate(told.players):
        if player.team_id not in sides:
            raise RejectedError(
                f"player {player.id!r} is of team {player.team_id!r}, which does not play",
                code="unknown_team",
                pointer=f"/players/{index}/team_id",
            )
    return Match(
        match_id=match_id,
        home=told.home,
        away=told.away,
        starts_at=told.starts_at.astimezone(UTC),
        players=told.players,
        competition=told.competition,
        delay_s=told.delay_s,
    )


def _check(told: Declaration) -> None:
    """Refuse ids and names that are empty, too long or hold control characters, and years that are none."""
    if not YEARS[0] <= told.starts_at.year <= YEARS[1]:
        raise MalformedError(
            f"starts_at is in the year {told.starts_at.year}; it is from {YEARS[0]} to {YEARS[1]}", pointer="/starts_at"
        )
    for place, id_, name in _named(told):
        _check_id(id_, f"{place}/id")
        if not 1 <= len(name) <= MAX_TEXT or any(c < " " or "\x7f" <= c <= "\x9f" for c in name):
            raise MalformedError(
                f"the name {name[:40]!r} is not 1 to {MAX_TEXT} characters without control characters",
                pointer=f"{place}/name",
            )


def _named(told: Declaration) -> Iterator[tuple[str, str, str]]:
    """Everyone in a declaration: where, id, name."""
    yield "/home", told.home.id, told.home.name
    yield "/away", told.away.id, told.away.name
    for index, player in enumerate(told.players):
        yield f"/players/{index}", player.id, player.name


def _check_id(id_: str, place: str | None) -> None:
    # U+FFFD is what broken percent-encoding of a path becomes.
    if not 1 <= len(id_) <= ID_CHARS or not id_.isprintable() or "\ufffd" in id_:
        raise MalformedError(f"the id {id_[:40]!r} is not 1 to {ID_CHARS} printable characters", pointer=place)

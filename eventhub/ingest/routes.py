"""Step 1 of the path: HTTP in, raw topics out. 202 only once every accepted item is durable, and it says where.

Hands accepted items, grouped by match and in the order in which they came, to the carrier.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from eventhub import auth, failpoints, topics, web
from eventhub.auth import Key
from eventhub.errors import EventhubError, MalformedError, NotFoundError, RejectedError, UnavailableError
from eventhub.events import Source
from eventhub.ingest.accept import Accepted, Acceptor, Provider
from eventhub.ingest.carrier import Carried, Durable
from eventhub.ingest.decode import split
from eventhub.ingest.pace import PART
from eventhub.ingest.ports import Node
from eventhub.ingest.status import Accounts
from eventhub.record import Outgoing

SLICE_BYTES, ITEM_WEIGHT_BYTES = 65_536, 655
"""The loop is given up after so much of a batch; an item counts for its bytes and as much as a hundredth of it."""
TURN_S = 10.0
"""For so long a request waits for its turn before it is read, and again before any of it is taken."""
Items = Sequence[tuple[int, bytes]]
"""Items of a request, each with its index."""
Sorted = tuple[list[tuple[int, Accepted]], list[tuple[int, RejectedError]], dict[bytes, bytes]]
"""What was accepted and what was refused, each with its index, and the ids that came with their fingerprints."""
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Taken(NamedTuple):
    """What became of items, each with its index."""

    accepted: Sequence[tuple[int, Accepted]]
    rejected: Sequence[tuple[int, RejectedError]]
    durable: Durable
    duplicates: int


class IngestRoutes:
    """The ingest routes."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._accounts = Accounts(node.name)
        self._acceptors = {
            source: Acceptor(cast(Source, source), node.registry, node.known, max_depth=node.limits.max_depth)
            for source in topics.SOURCE_TOPIC
        }

    async def post(self, request: Request) -> Response:
        """`POST /v1/ingest/{source}` and `POST /v1/ingest/{source}/{provider}?match_id=`.

        `?dry_run=true` answers the mapped events, with every refusal, and stores nothing.
        """
        source = request.path_params["source"]
        if source not in self._acceptors:
            raise NotFoundError(f"there is no source {source!r}; sources are {', '.join(self._acceptors)}")
        key = self._node.keys.check(request.headers.get("authorization"), source)
        try:
            return await self._post(request, source, key)
        except (MalformedError, RejectedError) as error:
            self._accounts.refused(key, error, None, b"", self._node.now())
            raise

    async def status(self, request: Request) -> Response:
        """`GET /v1/ingest/status`: what this node knows of the feed of the key that asks."""
        key = self._node.keys.check(request.headers.get("authorization"), *auth.SOURCES)
        return web.reply(self._accounts.status(key))

    async def _post(self, request: Request, source: str, key: Key) -> Response:
        node = self._node
        node.gate.look(source, key.id)
        provider = await self._provider(source, request)
        dry = _dry_run(request.query_params.get("dry_run"))
        await self._turn(source, node.window.approach(source, within_s=TURN_S))
        body = await web.read_body(request, node.limits.max_body_bytes)
        with node.gate.hold(source, len(body)):
            items = list(enumerate(split(body, request.headers.get("content-type", ""), node.limits.max_items)))
            node.gate.take(source, key.id, len(items), len(body))
            return await (self._show(source, items, provider) if dry else self._take(source, items, provider, key))

    async def _provider(self, source: str, request: Request) -> Provider | None:
        name = request.path_params.get("provider")
        if name is None:
            return None
        adapter = self._node.adapters.get(name)
        if adapter is None or adapter.source != source:
            known = ", ".join(a.provider for a in self._node.adapters.values() if a.source == source) or "none"
            raise NotFoundError(f"there is no provider {name!r} for {source}; known: {known}")
        match_id = request.query_params.get("match_id", "")
        match = self._node.registry.get(match_id)
        if match is None and await self._has_learned():
            match = self._node.registry.get(match_id)
        if match is None:
            raise RejectedError(
                f"match {match_id!r} was not declared; PUT /v1/matches/{{match_id}} first, then send ?match_id=",
                code="unknown_match",
                pointer="",
            )
        return Provider(adapter, match)

    async def _has_learned(self) -> bool:
        """Whether this node knows more matches, once it knows all that were declared on any node by now."""
        before = len(self._node.registry)
        # Without Kafka nothing is learned, and what this node does not know stays refused.
        with suppress(UnavailableError):
            await self._node.registry_caught_up()
        return len(self._node.registry) != before

    async def _take(self, source: str, items: Items, provider: Provider | None, key: Key) -> Response:
        first, *others = [*parts(items, PART if source == "sensors" else inf)] or [items]
        taken = [await self._take_part(source, first, provider, within_s=TURN_S)]
        clock = asyncio.get_running_loop().time
        until = clock() + TURN_S
        for part in others:
            # A request that has begun goes on: to send it again would cost more. A long one does not keep others out.
            taken.append(await self._take_part(source, part, provider, onward=clock() < until))
        accepted = [one for part in taken for one in part.accepted]
        rejected = [one for part in taken for one in part.rejected]
        now = self._node.now()
        occurred = [one.occurred_at for _, one in accepted]
        self._accounts.took(key, occurred, len(accepted), sum(part.duplicates for part in taken), now)
        for index, error in rejected:
            self._accounts.refused(key, error, index, items[index][1], now)
        spooled = any(part.durable == "spool" for part in taken)
        answer: dict[str, Any] = {
            "accepted": len(accepted),
            "durable": ("spool" if spooled else "log") if accepted else None,
            "items": [{"index": index, "event_id": one.event_id} for index, one in accepted],
            "rejected": [_told(index, error) for index, error in rejected],
        }
        return web.reply(answer, 202 if accepted else 422)

    async def _take_part(
        self,
        source: str,
        items: Items,
        provider: Provider | None,
        *,
        onward: bool = False,
        within_s: float | None = None,
    ) -> Taken:
        window, weight = self._node.window, sum(map(_weight, items))
        part = await self._turn(source, window.enter(source, weight, onward=onward, within_s=within_s))
        with window.follow(part) as places:
            accepted, rejected, fresh = await self._accept(source, items, provider)
            carried = await self._carry(source, [one for _, one in accepted])
            places.update(carried.places)
        failpoints.reach("ingest.after_ack")
        return Taken(accepted, rejected, carried.durable, self._node.known.note(fresh))

    async def _turn(self, source: str, turn: Coroutine[Any, Any, T]) -> T:
        """What that gives. Raises UnavailableError when it takes too long."""
        try:
            return await turn
        except TimeoutError:
            self._node.gate.refuse(source, "turn")

    async def _show(self, source: str, items: Items, provider: Provider | None) -> Response:
        accepted, rejected, _ = await self._accept(source, items, provider)
        answer: dict[str, Any] = {
            "accepted": len(accepted),
            "durable": None,
            "items": [
                {"index": index, "event_id": one.event_id, "event": msgspec.Raw(one.record.value or b"null")}
                for index, one in accepted
            ],
            "rejected": [_told(index, error) for index, error in rejected],
        }
        return web.reply(answer, 200 if accepted else 422)

    async def _accept(self, source: str, items: Items, provider: Provider | None) -> Sorted:
        """Each item's record or refusal; those of matches that another node has just declared are no refusals."""
        found = await self._accept_known(source, items, provider)
        if any(error.name == "unknown_match" for _, error in found[1]) and await self._has_learned():
            return await self._accept_known(source, items, provider)
        return found

    async def _accept_known(self, source: str, items: Items, provider: Provider | None) -> Sorted:
        accept = self._acceptors[source].accept
        now = self._node.now()
        accepted: list[tuple[int, Accepted]] = []
        rejected: list[tuple[int, RejectedError]] = []
        fresh: dict[bytes, bytes] = {}
        for number, part in enumerate(parts(items, SLICE_BYTES)):
            if number:
                # A large batch must not hold up the live feed, which shares this loop.
                await asyncio.sleep(0)
            for index, item in part:
                try:
                    accepted.append((index, accept(item, provider, now, fresh)))
                except RejectedError as error:
                    rejected.append((index, error))
        return accepted, rejected, fresh

    async def _carry(self, source: str, accepted: Sequence[Accepted]) -> Carried:
        by_match: dict[str, list[Outgoing]] = {}
        for one in accepted:
            by_match.setdefault(one.match_id, []).append(one.record)
        return await self._node.carriers[source].append(topics.SOURCE_TOPIC[source], by_match)


def parts(items: Items, most: float) -> Iterator[Items]:
    """Items in parts of a weight of `most`, each of one item at least."""
    part: list[tuple[int, bytes]] = []
    weight = 0
    for item in items:
        weight += _weight(item)
        if part and weight > most:
            yield part
            part, weight = [], _weight(item)
        part.append(item)
    if part:
        yield part


def _weight(item: tuple[int, bytes]) -> int:
    return ITEM_WEIGHT_BYTES + len(item[1])


def _told(index: int, error: EventhubError) -> dict[str, Any]:
    return {"index": index, "code": error.name, "pointer": error.pointer or "", "detail": error.detail}


def _dry_run(text: str | None) -> bool:
    if text not in (None, "", "true", "false", "1", "0"):
        raise MalformedError(f"dry_run is {text[:20]!r}; it is true or false", pointer="/dry_run")
    return text in ("true", "1")

"""Step 1 of the path: HTTP in, raw topics out. 202 only once every in-sync replica has every accepted item.

Hands accepted items, grouped by partition and in the order in which they came, to `kafka.Writer`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import structlog
from starlette.requests import Request
from starlette.responses import Response

from eventhub import topics, web
from eventhub.errors import NotFoundError, RejectedError, UnavailableError
from eventhub.events import Source
from eventhub.ingest.accept import Accepted, Acceptor, Provider
from eventhub.ingest.decode import split
from eventhub.ingest.ports import Node
from eventhub.record import Outgoing

SLICE = 100
KNOWN_MAX = 200_000
log = structlog.get_logger(__name__)


class IngestRoutes:
    """The two ingest routes. Remembers the ids that this node has put on raw topics, for the early conflict."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: dict[bytes, bytes] = {}
        self._pending_bytes = 0
        self._acceptors = {
            source: Acceptor(cast(Source, source), node.registry, self._known, max_depth=node.limits.max_depth)
            for source in topics.SOURCE_TOPIC
        }

    async def post(self, request: Request) -> Response:
        """`POST /v1/ingest/{source}` and `POST /v1/ingest/{source}/{provider}?match_id=`."""
        node, source = self._node, request.path_params["source"]
        if source not in self._acceptors:
            raise NotFoundError(f"there is no source {source!r}; sources are {', '.join(self._acceptors)}")
        node.keys.check(request.headers.get("authorization"), source)
        provider = self._provider(source, request)
        body = await web.read_body(request, node.limits.max_body_bytes)
        if self._pending_bytes + len(body) > node.limits.max_pending_bytes:
            raise UnavailableError("this node waits for Kafka with too much in hand; try again", retry_after_s=1)
        self._pending_bytes += len(body)
        try:
            items = split(body, request.headers.get("content-type", ""), node.limits.max_items)
            return await self._take(source, items, provider)
        finally:
            self._pending_bytes -= len(body)

    def _provider(self, source: str, request: Request) -> Provider | None:
        name = request.path_params.get("provider")
        if name is None:
            return None
        adapter = self._node.adapters.get(name)
        if adapter is None or adapter.source != source:
            known = ", ".join(a.provider for a in self._node.adapters.values() if a.source == source) or "none"
            raise NotFoundError(f"there is no provider {name!r} for {source}; known: {known}")
        match_id = request.query_params.get("match_id", "")
        match = self._node.registry.get(match_id)
        if match is None:
            raise RejectedError(
                f"match {match_id!r} was not declared; PUT /v1/matches/{{match_id}} first, then send ?match_id=",
                code="unknown_match",
                pointer="",
            )
        return Provider(adapter, match)

    async def _take(self, source: str, items: Sequence[bytes], provider: Provider | None) -> Response:
        accepted, rejected, fresh = await self._accept(source, items, provider)
        await self._write(topics.SOURCE_TOPIC[source], [one for _, one in accepted])
        self._remember(fresh)
        answer: dict[str, Any] = {
            "accepted": len(accepted),
            "durable": "log",
            "items": [{"index": index, "event_id": one.event_id} for index, one in accepted],
            "rejected": rejected,
        }
        return web.reply(answer, 202 if accepted else 422)

    async def _accept(
        self, source: str, items: Sequence[bytes], provider: Provider | None
    ) -> tuple[list[tuple[int, Accepted]], list[dict[str, Any]], dict[bytes, bytes]]:
        accept = self._acceptors[source].accept
        now = self._node.now()
        accepted: list[tuple[int, Accepted]] = []
        rejected: list[dict[str, Any]] = []
        fresh: dict[bytes, bytes] = {}
        for index, item in enumerate(items):
            if index % SLICE == SLICE - 1:
                # A large batch must not hold up the live feed, which shares this loop.
                await asyncio.sleep(0)
            try:
                accepted.append((index, accept(item, provider, now, fresh)))
            except RejectedError as error:
                rejected.append(
                    {"index": index, "code": error.name, "pointer": error.pointer or "", "detail": error.detail}
                )
        return accepted, rejected, fresh

    async def _write(self, topic: str, accepted: Sequence[Accepted]) -> None:
        node = self._node
        by_partition: dict[int, list[Outgoing]] = {}
        for one in accepted:
            by_partition.setdefault(node.partitioner(one.match_id), []).append(one.record)
        await asyncio.gather(
            *(
                node.writer.append(topic, partition, records, timeout_s=node.limits.ack_timeout_s)
                for partition, records in by_partition.items()
            )
        )

    def _remember(self, fresh: dict[bytes, bytes]) -> None:
        self._known.update(fresh)
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

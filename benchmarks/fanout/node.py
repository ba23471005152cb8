"""The product's delivery as a server of its own, its tail fed by TCP: everything from the log record to the client.

Tokens, handshake, hub, views, outboxes and wires are those of a node; only Kafka is not there. Messages come by TCP,
one JSON object a line, and the n-th one goes to match `m{n mod channels + 1}`.
"""

import argparse
import asyncio
import gc
import itertools
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
import uvloop
from starlette.applications import Starlette

from benchmarks.fanout.lines import Lines
from eventhub import auth, web
from eventhub.delivery import Delivery, Limits
from eventhub.errors import UnavailableError
from eventhub.events import Match, Team
from eventhub.kafka import Partitioner
from eventhub.process import GC_THRESHOLD
from eventhub.record import LogRecord, Seed
from eventhub.server import Listener, bind

PARTITIONS = 8


class Fed:
    """The log, as far as it is fed."""

    epoch = "bench"
    partitions = PARTITIONS

    def __init__(self) -> None:
        self.partition_of: Callable[[str], int] = Partitioner(PARTITIONS)
        self._ends = dict.fromkeys(range(PARTITIONS), 0)
        self._batch: list[LogRecord] = []
        self._news = asyncio.Event()

    def append(self, match_id: str, value: bytes) -> None:
        partition = self.partition_of(match_id)
        offset = self._ends[partition]
        self._ends[partition] = offset + 1
        self._batch.append(LogRecord(partition, offset, match_id, "n:pass", value, 0, ()))
        self._news.set()

    async def offsets_at(self, seconds_back: float) -> dict[int, int]:
        return dict(self._ends)

    async def ends(self) -> dict[int, int]:
        return dict(self._ends)

    async def beginnings(self) -> dict[int, int]:
        return dict.fromkeys(range(PARTITIONS), 0)

    async def tail(self, start: dict[int, int]) -> AsyncIterator[list[LogRecord]]:
        while True:
            batch, self._batch = self._batch, []
            yield batch
            if not self._batch:
                self._news.clear()
                await self._news.wait()

    async def read(self, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        raise UnavailableError("only the ring is here")
        yield []


class Nowhere:
    """History and seeds that have nothing."""

    async def progress(self, partition: int) -> int:
        raise UnavailableError("there is no history here")

    async def lost_above(self, partition: int, after: int) -> int | None:
        return None

    async def page(self, match_id: str, *, after: int, limit: int, types: Sequence[str] = ()) -> Sequence[Any]:
        return []

    async def read(self) -> tuple[dict[str, Seed], dict[int, int]]:
        return {}, {}


async def serve(port: int, publish: int, channels: int) -> None:
    """Serve until killed; prints an access token once it listens."""
    teams = Team("t1", "One"), Team("t2", "Two")
    names = [f"m{number + 1}" for number in range(channels)]
    fed, nowhere = Fed(), Nowhere()
    tokens = auth.load_tokens(None, Path(tempfile.mkdtemp()))

    async def known() -> None:
        return

    live = Delivery(
        log=fed,
        history=nowhere,
        seeds=nowhere,
        registry={name: Match(name, *teams, datetime(2026, 5, 30, 18, 45, tzinfo=UTC)) for name in names},
        catch_up_registry=known,
        check=tokens.check,
        node="bench",
        # All sockets of the load are of one user and one address.
        limits=Limits(
            ping_s=300,
            connections_per_address=100_000,
            connections_per_user=100_000,
            handshakes_per_s=100_000,
            handshakes_burst=100_000,
        ),
    )
    in_turn = itertools.cycle(names)

    def take(line: bytes) -> None:
        fed.append(next(in_turn), line)

    await live.open()
    running = asyncio.create_task(live.run())
    app = Starlette(routes=live.routes(), exception_handlers=web.handlers())
    await asyncio.get_running_loop().create_server(lambda: Lines(take), "127.0.0.1", publish)
    async with Listener(app, bind("127.0.0.1", port, exact=True, setting="--port")):
        gc.freeze()
        print(tokens.sign("bench", "free", datetime.now(UTC)), flush=True)
        await running


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--publish", type=int, required=True)
    parser.add_argument("--channels", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    gc.set_threshold(*GC_THRESHOLD)
    uvloop.run(serve(given.port, given.publish, given.channels))

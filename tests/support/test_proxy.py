"""The proxy that chaos tests rely on does to a connection what it says, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.proxy import Proxy


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    made = Proxy(echo)
    made.start()
    yield made
    made.close()


class Line:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, proxy: Proxy) -> "Line":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def echoed(self, data: bytes) -> float:
        """Seconds until all of it came back."""
        started = time.monotonic()
        self._writer.write(data)
        assert await self._reader.readexactly(len(data)) == data
        return time.monotonic() - started


async def test_what_passes_is_whole_and_in_order(proxy: Proxy) -> None:
    line = await Line.open(proxy)
    await line.echoed(bytes(range(256)) * 4000)


async def test_what_is_delayed_or_limited_takes_at_least_as_long(proxy: Proxy) -> None:
    line = await Line.open(proxy)
    proxy.delay(0.1)
    assert await line.echoed(b"x") >= 0.2
    proxy.delay(0)
    proxy.limit(200_000)
    assert await line.echoed(b"x" * 60_000) >= 0.3


async def test_a_frozen_line_stands_is_silent_and_loses_nothing(proxy: Proxy) -> None:
    line = await Line.open(proxy)
    await line.echoed(b"before")
    proxy.freeze()
    waiting = asyncio.create_task(line.echoed(b"meanwhile"))
    other = asyncio.create_task((await Line.open(proxy)).echoed(b"new"))
    done, _ = await asyncio.wait([waiting, other], timeout=0.3)
    assert not done
    proxy.thaw()
    await asyncio.wait_for(asyncio.gather(waiting, other), 10)


async def test_a_cut_line_is_reset_and_a_refused_one_is_not_taken(proxy: Proxy) -> None:
    line = await Line.open(proxy)
    await line.echoed(b"before")
    proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await line.echoed(b"after")
    await (await Line.open(proxy)).echoed(b"anew")
    proxy.refuse()
    with pytest.raises(ConnectionError):
        await Line.open(proxy)
    proxy.accept()
    await (await Line.open(proxy)).echoed(b"again")

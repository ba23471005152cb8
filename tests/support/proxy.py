"""A TCP proxy on loopback in a thread of its own: it delays, limits, cuts and freezes what passes through it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from eventhub.tasks import end

CHUNK_BYTES = 65_536
WAITING_CHUNKS = 64


class Proxy:
    """Passes everything on to one port, in both directions, until it is told otherwise. From any thread."""

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.target_port, self.port = target_port, port
        self._delay_s = 0.0
        self._bytes_per_s: float | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Listen; `port` is then the one to connect to."""
        self._thread.start()
        self._call(self._listen())

    def close(self) -> None:
        """End, with everything that passes."""
        if self._thread.is_alive():
            self._call(self._shut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """From now on everything arrives that much later, in its order."""
        self._delay_s = seconds

    def limit(self, bytes_per_s: float | None) -> None:
        """From now on at most so many bytes a second, per connection and direction; None: as many as there are."""
        self._bytes_per_s = bytes_per_s

    def freeze(self) -> None:
        """Half-open: connections stand and new ones are taken, but nothing passes any more."""
        self._do(self._open.clear)

    def thaw(self) -> None:
        """What was frozen goes on, and nothing of it is lost."""
        self._do(self._open.set)

    def cut(self) -> None:
        """Reset every connection that stands; new ones are taken."""
        self._do(self._reset)

    def refuse(self) -> None:
        """Reset every connection, and take no new one until `accept`."""
        self._call(self._stop_listening())

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._call(self._listen())

    async def _listen(self) -> None:
        if not hasattr(self, "_open"):
            self._open = asyncio.Event()
            self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    async def _shut(self) -> None:
        await self._stop_listening()
        await end(*self._tasks)

    def _reset(self) -> None:
        for pair in self._pairs:
            for writer in pair:
                if writer is not None:
                    writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter | None] = (writer, None)
        self._pairs.add(pair)
        try:
            await self._open.wait()
            theirs, to_them = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._pairs.discard(pair)
            pair = (writer, to_them)
            self._pairs.add(pair)
            directions = [asyncio.ensure_future(self._pump(*ends)) for ends in ((reader, to_them), (theirs, writer))]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end(*directions)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._pairs.discard(pair)
            self._tasks.discard(task)
            for one in pair:
                if one is not None:
                    one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING_CHUNKS)
        loop = asyncio.get_running_loop()

        async def take() -> None:
            data = b"-"
            while data:
                data = await reader.read(CHUNK_BYTES)
                await waiting.put((loop.time() + self._delay_s, data))

        taking = asyncio.ensure_future(take())
        try:
            while True:
                due_at, data = await waiting.get()
                await asyncio.sleep(max(0.0, due_at - loop.time()))
                await self._open.wait()
                if not data:
                    return
                if self._bytes_per_s:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
                writer.write(data)
                await writer.drain()
        finally:
            taking.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await taking

    def _do(self, action: Callable[[], object]) -> None:
        async def run() -> None:
            action()

        self._call(run())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

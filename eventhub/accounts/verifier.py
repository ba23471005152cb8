"""Passwords checked off the event loop, by few threads and with a bounded queue: hashing is slow on purpose."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from eventhub.auth import Passwords
from eventhub.errors import UnavailableError

THREADS = 2
QUEUE = 32
"""Logins that may wait or be under way; at 60 ms each, two at once, who waits last waits for a second."""
T = TypeVar("T")


class Verifier:
    """Verifies and hashes in threads of its own."""

    def __init__(self, *, threads: int = THREADS, queue: int = QUEUE) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._queue, self._count = queue, 0
        self._passwords: Passwords | None = None

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; takes as long where there is none. Raises UnavailableError when too many wait."""
        return await self._run(lambda: self._ready().verify(stored, password))

    async def rehashed(self, stored: str, password: str) -> str | None:
        """The hash with the parameters of now; None when it has them. Raises UnavailableError."""
        if not await self._run(lambda: self._ready().is_outdated(stored)):
            return None
        return await self._run(lambda: self._ready().hash(password))

    async def hash(self, password: str) -> str:
        """A hash to be stored. Raises UnavailableError."""
        return await self._run(lambda: self._ready().hash(password))

    async def close(self) -> None:
        """End the threads; what is under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ready(self) -> Passwords:
        """Made in a thread, at the first login: making it costs a hash."""
        self._passwords = self._passwords or Passwords()
        return self._passwords

    async def _run(self, work: Callable[[], T]) -> T:
        if self._count >= self._queue:
            raise UnavailableError("too many logins are under way on this node; try again", retry_after_s=1)
        self._count += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._count -= 1

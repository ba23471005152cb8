"""Handing in a new token before the old one ends, for as long as a connection lasts."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from eventhub_client.backoff import full_jitter
from eventhub_client.tokens import TokenProvider, renew_after_s

RETRY_S = (2.0, 30.0)
log = logging.getLogger(__name__)


class Renewal:
    """Runs in a task of its own, so that a program that is busy with a message does not lose its connection.

    `refresh` sends a token and returns the command's number. A provider that fails is asked again: the token that the
    connection came with still holds.
    """

    def __init__(self, refresh: Callable[[str], Awaitable[int]], provider: TokenProvider, token: str) -> None:
        self._refresh, self._provider = refresh, provider
        self._number: int | None = None
        self._refused = asyncio.Event()
        self._task = asyncio.create_task(self._run(token), name="eventhub token renewal")

    def refused(self, command: object) -> bool:
        """Whether this command, which was refused, was the last refresh; then another token is asked for."""
        if self._number is None or command != self._number:
            return False
        self._refused.set()
        return True

    def stop(self) -> None:
        """No more."""
        self._task.cancel()

    async def _run(self, token: str) -> None:
        attempt = 0
        while True:
            due_s = full_jitter(attempt, RETRY_S) if attempt else renew_after_s(token, time.time())
            if due_s is None:
                return
            if await self._is_refused_within(due_s):
                log.warning("the node refused a new token; another one is asked for")
                attempt += 1
                continue
            try:
                token = await self._provider()
            except Exception as error:
                log.warning("no new token: %r; it is asked for again", error)
                attempt += 1
                continue
            attempt = 0
            self._number = await self._refresh(token)

    async def _is_refused_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._refused.wait()
        except TimeoutError:
            return False
        self._refused.clear()
        return True

"""The subscriber: channels followed over any number of connections, each event once and in order."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from eventhub_client import channels
from eventhub_client.backoff import at_least, full_jitter
from eventhub_client.channels import Channel, Channels
from eventhub_client.errors import ClosedError, GaveUpError, LostError, RefusedError
from eventhub_client.link import Link, url_of
from eventhub_client.messages import Message
from eventhub_client.reading import Reading
from eventhub_client.tokens import TokenProvider

OnRetry = Callable[[LostError | RefusedError, float], None]
log = logging.getLogger(__name__)


class Client:
    """Follows channels of eventhub: subscribe, then iterate; it connects with the first step of the iteration.

    A connection that ends is replaced by itself, on the next of `nodes`, with full jitter between `backoff_s` (the
    first bound and the last, in seconds) or when the node asked for it; each channel goes on behind the last message
    that was handed out. So a program that stores `cursors` with what it made of the messages misses and doubles nothing
    over its own restarts either.

    The iteration reads only when it is asked for the next message. A program that is slower than its channels is served
    by the node as a slow client: `Skipped` tells what it is spared. A step of the iteration may be cancelled, for
    example by `asyncio.timeout`; nothing is lost, and the next step goes on. One task iterates at a time; any may
    subscribe.

    The iteration raises ClosedError when the node closes for good, RefusedError for a channel that it refuses,
    GaveUpError when nothing was subscribed for `give_up_after_s` seconds (None: never), and what `on_retry` raises,
    which is called with the failure and the seconds until the next attempt. Iterating again goes on.
    """

    def __init__(
        self,
        nodes: str | Sequence[str],
        token: str | TokenProvider,
        *,
        backoff_s: tuple[float, float] = (0.25, 20.0),
        give_up_after_s: float | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        """`nodes`: addresses such as `http://localhost:8000`. `token`: an access token, or who gives one.

        Raises ValueError for an address that is none.
        """
        self._urls = [url_of(node) for node in ([nodes] if isinstance(nodes, str) else nodes)]
        self._token, self._backoff_s, self._give_up_after_s = token, backoff_s, give_up_after_s
        self._on_retry = on_retry
        self._channels = Channels()
        self._reading = Reading(self._channels, self._told)
        self._lines: deque[str] = deque()
        self._link: Link | None = None
        self._turn = self._attempt = 0
        self._not_before = 0.0
        self._good_at: float | None = None
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave; the iteration ends, whoever iterates."""
        self._closed.set()
        link = self._link
        if link is not None:
            await link.close()
        self._forget_link()

    @property
    def cursors(self) -> dict[str, str]:
        """By channel the cursor behind what was handed out last; channels of which nothing came yet are not there."""
        return {channel.name: channel.cursor for channel in self._channels if channel.cursor is not None}

    async def subscribe(
        self,
        *names: str,
        cursors: Mapping[str, str] | None = None,
        from_start: bool = False,
        lanes: Sequence[str] = (),
        types: Sequence[str] = (),
        languages: Sequence[str] = (),
    ) -> None:
        """Follow channels such as `match:ID`; several at once count as one change of subscriptions.

        A channel that `cursors` names goes on behind its cursor; another comes from its start with `from_start`, else
        with its state and what follows. `lanes` and `types` leave out all others; translations come in `languages`
        (`de`, `pt-BR`, `*`) only. Raises ValueError for a channel that is subscribed already.
        """
        view = channels.view_of(lanes, types, languages)
        for name in names:
            self._channels.add(Channel(name, (cursors or {}).get(name), from_start, view))
        await self._ask()

    async def unsubscribe(self, *names: str) -> None:
        """Leave channels; nothing of them is handed out any more. Those that are not subscribed do not matter."""
        for name in names:
            left = self._channels.remove(name)
            if left is not None and left.asked is not None and self._link is not None:
                await self._link.send({"id": self._link.number(), "type": "unsubscribe", "channel": name})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message, however many connections it takes."""
        while not self._closed.is_set():
            try:
                # What has come is handed out before more is fetched: so one cursor for each channel is enough.
                message = self._next_taken()
                if message is not None:
                    return message
                await self._fill()
            except LostError as error:
                if not self._closed.is_set():
                    self._lost(error)
            except ClosedError:
                self._forget_link()
                # Who iterates again all the same does not do it at once.
                self._wait(full_jitter(self._attempt, self._backoff_s))
                self._attempt += 1
                raise
        raise StopAsyncIteration

    def _next_taken(self) -> Message | None:
        """The next message among the lines that have come; None when none is left."""
        while self._lines and self._link is not None:
            message = self._reading.take(self._lines.popleft(), self._link)
            if message is not None:
                return message
        return None

    async def _fill(self) -> None:
        """Wait for lines; connect first where there is no connection."""
        link = self._link
        if link is None:
            await self._open()
        elif link.leaving:
            raise LostError("the node asks to come back")
        else:
            await self._ask()
            self._lines.extend(await link.receive(self._channels.next_due_at()))

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._good_at = loop.time() if self._good_at is None else self._good_at
        await self._pause()
        provider = None if isinstance(self._token, str) else self._token
        token = self._token if isinstance(self._token, str) else await _token_of(self._token)
        url = self._urls[self._turn % len(self._urls)]
        self._turn += 1
        link = await Link.open(url)
        try:
            await link.greet(token, provider)
        except BaseException:
            link.abort()
            raise
        self._link = link
        if self._closed.is_set():
            self._forget_link()
        await self._ask()

    async def _pause(self) -> None:
        """Wait until it is time for the next attempt, or for nothing more."""
        wait_s = self._not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            # Not asyncio.timeout: one that is over as it begins takes a cancellation for its own (Python 3.11).
            closing = asyncio.create_task(self._closed.wait())
            try:
                await asyncio.wait({closing}, timeout=wait_s)
            finally:
                closing.cancel()

    async def _ask(self) -> None:
        """Subscribe to what is not subscribed on this connection."""
        link = self._link
        if link is None:
            return
        commands = []
        for group in self._channels.due(asyncio.get_running_loop().time()):
            number = link.number()
            # All are noted before it waits: another task may come here meanwhile.
            for channel in group:
                channel.asked = number
            commands.append({"id": number, **channels.command(group)})
        for command in commands:
            await link.send(command)

    def _lost(self, error: LostError) -> None:
        """Prepare the next attempt. Raises GaveUpError, and what `on_retry` raises."""
        link = self._link
        if link is not None and link.was_steady():
            self._attempt = 0
        wait_s = max(full_jitter(self._attempt, self._backoff_s), at_least(error.retry_after_s))
        if link is not None and link.leaving:
            # The node has spread its clients over these times itself.
            wait_s = link.retry_after_s
        self._attempt += 1
        self._note_good()
        self._forget_link()
        self._wait(wait_s)
        self._told(error, wait_s)

    def _told(self, error: LostError | RefusedError, wait_s: float) -> None:
        log.info("%s; next attempt in %.2f s", error, wait_s)
        self._note_good()
        bad_s = 0.0 if self._good_at is None else asyncio.get_running_loop().time() - self._good_at
        if self._give_up_after_s is not None and bad_s > self._give_up_after_s:
            self._good_at = None
            raise GaveUpError(
                f"{self._urls[0]} gave no subscription for {self._give_up_after_s:g} s (last: {error});"
                " look whether the node runs, and iterate again to go on"
            ) from error
        if self._on_retry is not None:
            self._on_retry(error, wait_s)

    def _note_good(self) -> None:
        """While anything is subscribed, it does not give up."""
        if self._link is not None and self._link.subscribed_at is not None:
            self._good_at = asyncio.get_running_loop().time()

    def _wait(self, seconds: float) -> None:
        self._not_before = asyncio.get_running_loop().time() + seconds

    def _forget_link(self) -> None:
        """Lines that were not handed out come again on the next connection: they are behind the cursors."""
        if self._link is not None:
            self._link.abort()
        self._link = None
        self._lines.clear()
        self._channels.lose_connection()


async def _token_of(provider: TokenProvider) -> str:
    try:
        return await provider()
    except Exception as error:
        # Who gives tokens may be away for a moment, as a node may.
        raise LostError(f"no token: {type(error).__name__}: {error}") from error

"""The producer: items in, batches out, in order, until each is durable or reported as refused."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from eventhub_client.errors import RejectedError
from eventhub_client.ingest import Ingest, OnWait, Route, SourceName
from eventhub_client.post import Post

CLOSED = "the producer is closed; what it sends belongs into its `async with` block"


class Rejected(NamedTuple):
    """An item that the node refused for good: its number, why, and where in the item (a JSON pointer)."""

    number: int
    code: str
    pointer: str
    detail: str
    item: bytes


class Producer:
    """Sends items of one source to a node, in the order of `send`, one batch at a time, in an `async with` block.

    Items are numbered from `done`. After each batch `checkpoint` is called with how many items, from the first on,
    the node has answered for: durable on every replica, or refused and given to `on_rejected`. A program that starts
    again with that number as `done`, and sends from that item on, has lost nothing; sending twice changes nothing.

    Overload (429, 503, with what `Retry-After` asks), failures of the node and of the network are waited out with full
    jitter between `backoff_s` (seconds) and told to `on_retry`. Without `on_rejected` a refused item stops the producer
    with RejectedError, before the checkpoint. What stops it is raised by `send`, `flush` and the end of the block.

    A batch has at most `batch_items` items and `batch_bytes` bytes, and waits at most `linger_s` for more; `send` waits
    while `waiting_items` are on their way. `provider` and `match_id` are for records in a provider's own form.
    """

    def __init__(
        self,
        node: str,
        key: str,
        source: SourceName,
        *,
        provider: str | None = None,
        match_id: str | None = None,
        done: int = 0,
        checkpoint: Callable[[int], None] | None = None,
        on_rejected: Callable[[Rejected], None] | None = None,
        on_retry: OnWait | None = None,
        batch_items: int = 500,
        batch_bytes: int = 1_000_000,
        linger_s: float = 0.05,
        waiting_items: int = 5_000,
        timeout_s: float = 30.0,
        backoff_s: tuple[float, float] = (0.1, 5.0),
        give_up_after_s: float | None = None,
    ) -> None:
        """Nothing is sent yet. Raises ValueError for an address that is none."""
        self._post = Post(node, timeout_s=timeout_s)
        route = Route(source, provider, match_id)
        self._ingest = Ingest(
            self._post, key, route, backoff_s=backoff_s, give_up_after_s=give_up_after_s, on_retry=on_retry
        )
        self._checkpoint, self._on_rejected = checkpoint, on_rejected
        self._batch_items, self._batch_bytes = batch_items, batch_bytes
        self._linger_s, self._waiting_items = linger_s, waiting_items
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._flush_to = 0
        self._changed = asyncio.Condition()
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None
        self.done = done
        """How many items, from the first on, the node has answered for."""
        self.accepted = 0
        """Of these, how many it took."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="eventhub producer")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Send what waits; not after an exception, which leaves it behind the checkpoint."""
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._stop()

    @property
    def waiting(self) -> int:
        """How many items are on their way: handed over, and not answered for."""
        return len(self._waiting)

    async def send(self, item: Mapping[str, Any] | bytes) -> int:
        """Hand over an item, or its JSON in one line; returns its number. Waits for room.

        Raises what stopped the producer, ValueError for bytes of several lines.
        """
        body = item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode()
        if b"\n" in body:
            raise ValueError("an item is one line of JSON: a line break would make two items of it")
        async with self._changed:
            await self._until(lambda: len(self._waiting) < self._waiting_items)
            self._waiting.append(body)
            self._waiting_bytes += len(body)
            self._changed.notify_all()
            return self.done + len(self._waiting) - 1

    async def flush(self) -> None:
        """Return once everything that was sent before is answered for. Raises what stopped the producer."""
        async with self._changed:
            upto = self.done + len(self._waiting)
            self._flush_to = max(self._flush_to, upto)
            self._changed.notify_all()
            await self._until(lambda: self.done >= upto)

    async def _until(self, holds: Callable[[], bool]) -> None:
        if self._task is None:
            raise RuntimeError(CLOSED)
        await self._changed.wait_for(lambda: self._failure is not None or holds())
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            while True:
                batch = await self._next_batch()
                self._settle(batch, await self._ingest.send(batch))
                async with self._changed:
                    self._changed.notify_all()
        except Exception as error:
            async with self._changed:
                self._failure = error
                self._changed.notify_all()

    async def _next_batch(self) -> list[bytes]:
        """What goes out next. It stays in the queue until it is answered for."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_s):
                    await self._changed.wait_for(self._is_full)
            batch: list[bytes] = []
            size = 0
            for item in self._waiting:
                size += len(item) + 1
                # One that is too big goes alone: the node says that it is.
                if batch and (len(batch) >= self._batch_items or size > self._batch_bytes):
                    break
                batch.append(item)
            return batch

    def _is_full(self) -> bool:
        enough = len(self._waiting) >= self._batch_items or self._waiting_bytes >= self._batch_bytes
        return enough or self._flush_to > self.done

    def _settle(self, batch: list[bytes], answer: Mapping[str, Any]) -> None:
        """Report what was refused, then move the checkpoint: a crash between the two reports it twice, not never."""
        refused = [self._rejected(batch, told) for told in answer["rejected"]]
        if refused and self._on_rejected is None:
            first = refused[0]
            raise RejectedError(
                f"{len(refused)} of {len(batch)} items were refused, the first, number {first.number}, with"
                f" {first.code} at {first.pointer or '/'}: {first.detail}; mend it, or give on_rejected"
            )
        for one in refused:
            if self._on_rejected is not None:
                self._on_rejected(one)
        for item in batch:
            self._waiting.popleft()
            self._waiting_bytes -= len(item)
        self.done += len(batch)
        self.accepted += len(batch) - len(refused)
        if self._checkpoint is not None:
            self._checkpoint(self.done)

    def _rejected(self, batch: list[bytes], told: Mapping[str, Any]) -> Rejected:
        index = int(told["index"])
        code, pointer, detail = (str(told.get(name) or "") for name in ("code", "pointer", "detail"))
        return Rejected(self.done + index, code, pointer, detail, batch[index])

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._post.close()

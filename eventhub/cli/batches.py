"""Batches of a replay by the Python client's producer, each answered for before the next. No rendering here."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

from eventhub.errors import EventhubError, ForbiddenError, RejectedError, UnauthorizedError, UnavailableError
from eventhub.events import Source
from eventhub_client import GaveUpError, IngestError, LostError, Producer, Rejected

FLUSHED_S = 3600
"""A batch is sent when it is whole, and not before."""


class Answered(NamedTuple):
    """What became of a batch: how many items were accepted, and code, pointer and detail of each other."""

    accepted: int
    rejected: list[dict[str, Any]]


class Batches:
    """One route of a node, in an `async with` block."""

    def __init__(
        self,
        node: str,
        key: str,
        source: Source,
        *,
        provider: str | None = None,
        match_id: str | None = None,
        timeout_s: float,
        give_up_after_s: float,
        say: Callable[[str], None],
    ) -> None:
        """`say` is told why and how long it waits."""
        self._node, self._give_up_after_s, self._say = node, give_up_after_s, say
        self._rejected: list[Rejected] = []
        self._producer = Producer(
            node,
            key,
            source,
            provider=provider,
            match_id=match_id,
            on_rejected=self._rejected.append,
            on_retry=self._retrying,
            linger_s=FLUSHED_S,
            timeout_s=timeout_s,
            give_up_after_s=give_up_after_s,
        )

    async def __aenter__(self) -> Self:
        await self._producer.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._producer.__aexit__(*error)

    async def send(self, items: Sequence[bytes]) -> Answered:
        """Send again until there is an answer that counts.

        Raises UnavailableError when there was none for too long, and for what the node refuses as a whole its error.
        """
        before = self._producer.accepted
        self._rejected.clear()
        try:
            for item in items:
                await self._producer.send(item)
            await self._producer.flush()
        except GaveUpError as error:
            raise UnavailableError(
                f"{self._node} accepted nothing for {self._give_up_after_s:g} s (last: {error.__cause__});"
                " run the same command again to resume"
            ) from error
        except IngestError as error:
            raise _named(error) from error
        told = [{"code": r.code, "pointer": r.pointer, "detail": r.detail} for r in self._rejected]
        return Answered(self._producer.accepted - before, told)

    def _retrying(self, error: LostError, wait_s: float) -> None:
        self._say(f"{error}; trying again in {wait_s:.1f} s")


def _named(error: IngestError) -> EventhubError:
    """The error of this package that a refusal is."""
    if error.code == "no_json":
        return UnavailableError(f"the node answered {error.status} without JSON: is this eventhub?")
    kinds: dict[int, type[EventhubError]] = {401: UnauthorizedError, 403: ForbiddenError}
    return kinds.get(error.status, RejectedError)(error.detail)

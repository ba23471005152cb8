"""A batch of items handed to a node until it answers for each of them."""

import asyncio
import json
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from eventhub_client.backoff import at_least, full_jitter
from eventhub_client.errors import GaveUpError, IngestError, LostError
from eventhub_client.post import Answer, Post

TRY_AGAIN = frozenset({429, 500, 502, 503, 504})
NEW_KEY_S = 5.0
"""A key that was made just now reaches each node a moment later: so long an unknown one is tried again."""

SourceName = Literal["broadcast", "sensors", "social"]
OnWait = Callable[[LostError, float], None]


class Route(NamedTuple):
    """Where items go: canonical events of a source, or a provider's own records of one match."""

    source: SourceName
    provider: str | None = None
    match_id: str | None = None

    @property
    def path(self) -> str:
        """The path of the request, with its query."""
        path = f"/v1/ingest/{self.source}"
        if self.provider is not None:
            path += f"/{urllib.parse.quote(self.provider, safe='')}"
        return path if self.match_id is None else f"{path}?match_id={urllib.parse.quote(self.match_id, safe='')}"


class Ingest:
    """Posts batches one after the other, each until it is answered: 202 means that it is durable.

    What is sent twice because an answer was lost changes nothing: the node knows an item by its `source_event_id`, and
    one without it by its bytes.
    """

    def __init__(
        self,
        post: Post,
        key: str,
        route: Route,
        *,
        backoff_s: tuple[float, float],
        give_up_after_s: float | None,
        on_retry: OnWait | None,
    ) -> None:
        self._post, self._path = post, route.path
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        self._backoff_s, self._give_up_after_s, self._on_retry = backoff_s, give_up_after_s, on_retry
        self._begun_at: float | None = None

    async def send(self, items: Sequence[bytes]) -> dict[str, Any]:
        """The node's answer for these items; its `rejected` names those that it refuses.

        Raises IngestError when the request as a whole is refused for good, GaveUpError after `give_up_after_s`.
        """
        loop = asyncio.get_running_loop()
        self._begun_at = self._begun_at or loop.time()
        begun_at, attempt = loop.time(), 0
        while True:
            try:
                return self._judged(await self._post.post(self._path, b"\n".join(items), self._headers), loop.time())
            except LostError as error:
                wait_s = max(full_jitter(attempt, self._backoff_s), at_least(error.retry_after_s))
                attempt += 1
                if self._give_up_after_s is not None and loop.time() + wait_s - begun_at > self._give_up_after_s:
                    raise GaveUpError(
                        f"the node accepted nothing for {self._give_up_after_s:g} s (last: {error});"
                        " look whether it runs, and go on from the checkpoint"
                    ) from error
                if self._on_retry is not None:
                    self._on_retry(error, wait_s)
                await asyncio.sleep(wait_s)

    def _judged(self, answer: Answer, now: float) -> dict[str, Any]:
        """The body of an answer that counts. Raises LostError for one after which to try again."""
        is_new = answer.status == 401 and now - (self._begun_at or now) < NEW_KEY_S
        if answer.status in TRY_AGAIN or is_new:
            raise LostError(str(answer.status), code=answer.status, retry_after_s=answer.retry_after_s)
        try:
            body = json.loads(answer.body)
        except ValueError as error:
            raise IngestError(answer.status, "no_json", "the answer is no JSON: is this an eventhub node?") from error
        taken = answer.status in (200, 202) or answer.status == 422
        if taken and isinstance(body, dict) and isinstance(body.get("rejected"), list):
            return body
        told = body if isinstance(body, dict) else {}
        raise IngestError(answer.status, str(told.get("code", "unknown")), str(told.get("detail", "no reason given")))

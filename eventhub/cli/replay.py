"""Replaying a provider's file against a node: in match time, with back-off, and a checkpoint to resume from.

No rendering here. A batch is sent again until it is acknowledged, so that it may arrive twice; the platform drops
duplicates. Records go out in file order, and a period's end only after every record of it was acknowledged.
"""

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import backoff
import httpx2

from eventhub.errors import EventhubError, ForbiddenError, RejectedError, UnauthorizedError, UnavailableError
from eventhub.ingest.adapters import Feed

BATCH = 500
WAIT_S = (0.1, 5.0)
LONGEST = timedelta(hours=3)
REQUEST_TIMEOUT_S = 30
NEW_KEY_S = 5


class Step(NamedTuple):
    """One thing to send: a provider's record, or a canonical event; `due_s` in seconds of playing time."""

    due_s: float
    canonical: bool
    body: bytes
    period: str
    clock_s: float


class Target(NamedTuple):
    """Where to, as whom."""

    node: str
    provider: str
    match_id: str
    key: str
    admin_key: str | None


class Summary(NamedTuple):
    """What became of the feed; `refusals` holds the first ten."""

    accepted: int
    rejected: int
    refusals: list[dict[str, Any]]


def starts_at(now: datetime, speed: float) -> datetime:
    """The start of a match that nobody declared, so that nothing replayed lies ahead of the clock.

    Speed 1: now; infinite: 3 h ago; in between such that the match at `speed` ends now + 3 h / speed.
    """
    return now - LONGEST * (1 - 1 / speed)


def steps(feed: Feed, match_id: str, start: datetime) -> list[Step]:
    """The whole feed in sending order. Stoppage time overlaps the next period's clock, so due times never go back."""
    plan: list[Step] = []
    base_s = 0.0
    for name, first_s, last_s in feed.periods:
        offset_s = base_s - first_s
        plan.append(_canonical(match_id, "period_start", name, first_s, base_s, start))
        plan += [
            Step(at_s + offset_s, False, body, name, at_s) for period, at_s, body in feed.records if period == name
        ]
        base_s = last_s + offset_s
        plan.append(_canonical(match_id, "period_end", name, last_s, base_s, start))
    name, _, last_s = feed.periods[-1]
    plan.append(_canonical(match_id, "match_end", name, last_s, base_s, start))
    return plan


def _canonical(match_id: str, kind: str, period: str, clock_s: float, due_s: float, start: datetime) -> Step:
    event = {
        "source_event_id": f"{match_id}:{period}:{kind}",
        "match_id": match_id,
        "type": kind,
        "occurred_at": (start + timedelta(seconds=clock_s)).isoformat(),
        "period": period,
        "clock_s": clock_s,
    }
    return Step(due_s, True, json.dumps(event).encode(), period, clock_s)


class Checkpoint:
    """How many steps of this feed were acknowledged and refused, in a file that is replaced in one piece."""

    def __init__(self, path: Path, feed: Feed) -> None:
        self._path = path
        records = b"\n".join(record for _, _, record in feed.records)
        self._feed = hashlib.sha256(records).hexdigest()

    def read(self) -> tuple[int, int]:
        """Steps that were acknowledged, and items refused among them; zeros when there is no file.

        Raises RejectedError when it cannot be read, or when it is of other records.
        """
        try:
            noted = json.loads(self._path.read_text())
            done, refused, feed = int(noted["acknowledged"]), int(noted["refused"]), noted["feed"]
        except FileNotFoundError:
            return 0, 0
        except (ValueError, KeyError, TypeError) as error:
            raise RejectedError(f"the checkpoint {self._path} is broken; remove it to send all again") from error
        if feed != self._feed:
            raise RejectedError(f"the checkpoint {self._path} is of another file; name another by --checkpoint")
        return done, refused

    def write(self, acknowledged: int, refused: int) -> None:
        """Note progress; it is on the disk when this returns."""
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("w") as file:
            json.dump({"acknowledged": acknowledged, "refused": refused, "feed": self._feed}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


class Replay:
    """Sends a feed. `progress(done, total, last)` is called after each acknowledged batch with its last step."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        target: Target,
        *,
        speed: float,
        give_up_after_s: float,
        progress: Callable[[int, int, Step], None],
        say: Callable[[str], None],
    ) -> None:
        self._http, self._target, self._speed = http, target, speed
        self._give_up_after_s = give_up_after_s
        self._progress, self._say = progress, say
        self._begun_at = 0.0

    async def declare(self, feed: Feed, now: datetime) -> datetime:
        """Declare the match unless it is; returns its start. Without an admin key the match must be there."""
        start = starts_at(now, self._speed)
        if self._target.admin_key is None:
            return start
        body = json.dumps({**feed.declaration, "starts_at": start.isoformat()}).encode()
        headers = {"Authorization": f"Bearer {self._target.admin_key}", "If-None-Match": "*"}
        answer = await self._until_answered("PUT", f"/v1/matches/{self._target.match_id}", body, headers)
        known = answer.get("match", answer)
        return datetime.fromisoformat(known["starts_at"])

    async def send(self, plan: Sequence[Step], checkpoint: Checkpoint) -> Summary:
        """Send what was not acknowledged yet. Raises UnavailableError when nothing is accepted for too long."""
        done, rejected = checkpoint.read()
        loop = asyncio.get_running_loop()
        zero = loop.time() - (plan[done].due_s / self._speed if done < len(plan) else 0)
        accepted = 0
        refusals: list[dict[str, Any]] = []
        while done < len(plan):
            await asyncio.sleep(max(0.0, zero + plan[done].due_s / self._speed - loop.time()))
            batch = self._batch(plan, done, (loop.time() - zero) * self._speed)
            answer = await self._post(batch)
            accepted += answer["accepted"]
            rejected += len(answer["rejected"])
            refusals += answer["rejected"][: 10 - len(refusals)]
            done += len(batch)
            checkpoint.write(done, rejected)
            self._progress(done, len(plan), batch[-1])
        return Summary(accepted, rejected, refusals)

    def _batch(self, plan: Sequence[Step], start: int, now_s: float) -> Sequence[Step]:
        """The steps that are due and go to the same route, at most 500."""
        end = start + 1
        while (
            end < len(plan)
            and end - start < BATCH
            and plan[end].canonical == plan[start].canonical
            and plan[end].due_s <= now_s
        ):
            end += 1
        return plan[start:end]

    async def _post(self, batch: Sequence[Step]) -> dict[str, Any]:
        target = self._target
        path = "/v1/ingest/broadcast"
        if not batch[0].canonical:
            path += f"/{target.provider}?match_id={target.match_id}"
        headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/x-ndjson"}
        return await self._until_answered("POST", path, b"\n".join(step.body for step in batch), headers)

    async def _until_answered(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Try until there is an answer that counts; waits between tries with full jitter."""
        loop = asyncio.get_running_loop()
        self._begun_at = self._begun_at or loop.time()
        deadline = loop.time() + self._give_up_after_s
        waits = backoff.expo(base=2, factor=WAIT_S[0], max_value=WAIT_S[1])
        next(waits)
        while True:
            wait_s = backoff.full_jitter(next(waits) or WAIT_S[0])
            try:
                answer = await self._http.request(method, self._target.node + path, content=body, headers=headers)
            except httpx2.HTTPError as error:
                reason = f"{type(error).__name__}"
            else:
                # A key that was made just now reaches each node a moment later than Kafka has it.
                new_key = answer.status_code == 401 and loop.time() - self._begun_at < NEW_KEY_S
                if answer.status_code not in (429, 500, 502, 503, 504) and not new_key:
                    return _judged(answer)
                reason = f"{answer.status_code}"
                wait_s = max(wait_s, random.uniform(1, 1.5) * _seconds(answer.headers.get("retry-after")))  # noqa: S311
            if loop.time() + wait_s > deadline:
                raise UnavailableError(
                    f"{self._target.node} accepted nothing for {self._give_up_after_s:g} s (last: {reason});"
                    " run the same command again to resume"
                )
            self._say(f"{reason}; trying again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)


def _seconds(retry_after: str | None) -> float:
    """What Retry-After asks for, where it is a number; a date (RFC 9110) is left to the back-off."""
    try:
        return float(retry_after or 0)
    except ValueError:
        return 0.0


def _judged(answer: httpx2.Response) -> dict[str, Any]:
    """The answer's body, or the error that ends the replay. Items that were refused do not end it."""
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as error:
        raise UnavailableError(f"the node answered {answer.status_code} without JSON: is this eventhub?") from error
    if answer.is_success or answer.status_code == 412 or (answer.status_code == 422 and "rejected" in body):
        return body
    kinds: dict[int, type[EventhubError]] = {401: UnauthorizedError, 403: ForbiddenError}
    raise kinds.get(answer.status_code, RejectedError)(str(body.get("detail", answer.status_code)))

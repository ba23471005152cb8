"""Replaying a provider's file against a node: in match time, with back-off, and a checkpoint to resume from.

No rendering here. A batch is sent again until it is acknowledged, so that it may arrive twice; the platform drops
duplicates. Records go out in file order, and a period's end only after every record of it was acknowledged. A feed
without periods (positions, posts) is its records alone, in order of match time.
"""

import asyncio
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import backoff
import httpx2

from eventhub.cli.batches import Answered, Batches
from eventhub.errors import (
    EventhubError,
    ForbiddenError,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UnavailableError,
)
from eventhub.events import Source
from eventhub.ingest.adapters import Feed
from eventhub.windows import AHEAD_S, LATE_S

BATCH = 500
WAIT_S = (0.1, 5.0)
MARGIN_S = 15
"""What the way to the node may take of an admission window."""
SILENCE_S = 5
OUTSIDE = ({"too_late"}, {"too_early"}, {"too_late", "too_early"})
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
    source: Source
    match_id: str
    key: str
    admin_key: str | None


class _How(TypedDict):
    timeout_s: float
    give_up_after_s: float
    say: Callable[[str], None]


class Summary(NamedTuple):
    """What became of the feed; `refusals` holds the first ten."""

    accepted: int
    rejected: int
    refusals: list[dict[str, Any]]


def starts_at(plan: Sequence[Step], now: datetime, speed: float) -> datetime:
    """The start of a match that nobody declared, so that nothing replayed lies ahead of the clock.

    Speed 1: now, unless a period's clock begins before the one before it was played out; faster: as long ago as makes
    one record be sent when it occurs, and none before. So nothing comes later than it must.
    """
    ahead_s = max((step.clock_s - step.due_s / speed for step in plan), default=0.0)
    return now - timedelta(seconds=max(0.0, ahead_s))


def steps(feed: Feed, target: Target, start: datetime) -> list[Step]:
    """The whole feed in sending order, which for broadcast has the periods' own events between the records.

    Stoppage time overlaps the next period's clock, so due times never go back.
    """
    if target.source != "broadcast" or not feed.periods:
        timed = sorted(feed.records, key=lambda record: record[1])
        return [Step(at_s, False, body, period, at_s) for period, at_s, body in timed]
    plan: list[Step] = []
    base_s = 0.0
    for name, first_s, last_s in feed.periods:
        offset_s = base_s - first_s
        plan.append(_canonical(target.match_id, "period_start", name, first_s, base_s, start))
        plan += [
            Step(at_s + offset_s, False, body, name, at_s) for period, at_s, body in feed.records if period == name
        ]
        base_s = last_s + offset_s
        plan.append(_canonical(target.match_id, "period_end", name, last_s, base_s, start))
    name, _, last_s = feed.periods[-1]
    plan.append(_canonical(target.match_id, "match_end", name, last_s, base_s, start))
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


def check_speed(feed: Feed, source: Source, speed: float) -> None:
    """Raise RejectedError when a feed is so long that at this speed some of it must come after its source's window.

    Broadcast has no such window, and a dated feed is as late as its dates are.
    """
    length = max((at_s for _, at_s, _ in feed.records), default=0.0)
    room_s = LATE_S.get(source, 0) - MARGIN_S
    if source in LATE_S and not feed.dated and length * (1 - 1 / speed) > room_s:
        # Rounded down, so that what is advised is taken.
        most = int(100 / (1 - room_s / length)) / 100
        raise RejectedError(
            f"this feed plays for {length:.0f} s, and {source} may be {LATE_S[source]} s late, so that sent this fast"
            f" most of it would be refused; --speed {most:g} is the most"
        )


def check_start(plan: Sequence[Step], done: int, target: Target, start: datetime, now: datetime, speed: float) -> None:
    """Raise RejectedError when what is left, sent from now on into a match that starts at `start`, would be refused."""
    if target.source not in LATE_S or done >= len(plan):
        return
    # How late a record comes changes evenly from the first to the last.
    ends = (plan[done], plan[-1])
    begun_s = (now - start).total_seconds() - _begin_s(plan, done) / speed
    late_s = [begun_s + step.due_s / speed - step.due_s for step in ends]
    late = LATE_S[target.source]
    if max(late_s) > late or min(late_s) < -AHEAD_S:
        how = f"{max(late_s):.0f} s late" if max(late_s) > late else f"{-min(late_s):.0f} s early"
        raise RejectedError(
            f"match {target.match_id} starts at {start:%Y-%m-%dT%H:%M:%SZ}, and this feed, sent now, would come {how};"
            f" {target.source} may be {late} s late and {AHEAD_S} s early. Name a match that is not declared yet,"
            " or declare this one again with a starts_at that fits"
        )


def _begin_s(plan: Sequence[Step], done: int) -> float:
    """The second of playing time that is now: the match's start, or where a replay resumes."""
    return plan[done].due_s if 0 < done < len(plan) else 0.0


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
        """Declare the match unless it is; returns its start. Raises NotFoundError when the file cannot declare it.

        Without an admin key the match must be there, and its start is not known: what a new one would have is returned.
        """
        target = self._target
        start = starts_at(steps(feed, target, now), now, self._speed)
        if target.admin_key is None:
            return start
        body = json.dumps({**feed.declaration, "starts_at": start.isoformat()}).encode()
        headers = {"Authorization": f"Bearer {target.admin_key}", "If-None-Match": "*"}
        try:
            answer = await self._until_answered("PUT", f"/v1/matches/{target.match_id}", body, headers)
        except RejectedError as error:
            if feed.declaration:
                raise
            # A node answers 412 with the match before it looks at the body.
            raise NotFoundError(
                f"match {target.match_id} was not declared, and a file of {target.provider} does not say who plays;"
                " PUT /v1/matches/{match_id} first, or replay a broadcast feed into it"
            ) from error
        known = answer.get("match", answer)
        return datetime.fromisoformat(known["starts_at"])

    async def send(self, plan: Sequence[Step], checkpoint: Checkpoint, *, dated: bool = False) -> Summary:
        """Send what was not acknowledged yet. Raises UnavailableError when nothing is accepted for too long.

        Raises RejectedError when a whole batch is outside the admission window, unless the records are `dated`: what
        follows would be too.
        """
        done, rejected = checkpoint.read()
        loop = asyncio.get_running_loop()
        zero = loop.time() - _begin_s(plan, done) / self._speed
        if done == 0 and plan and plan[0].due_s / self._speed > SILENCE_S:
            self._say(f"the first record is due at second {plan[0].due_s:g} of the match")
        accepted = 0
        refusals: list[dict[str, Any]] = []
        async with self._routes() as routes:
            while done < len(plan):
                await asyncio.sleep(max(0.0, zero + plan[done].due_s / self._speed - loop.time()))
                batch = self._batch(plan, done, (loop.time() - zero) * self._speed)
                answer = await routes[batch[0].canonical].send([step.body for step in batch])
                if not dated and _all_outside(answer):
                    raise RejectedError(
                        f"{len(answer.rejected)} records at once were refused, the first because"
                        f" {answer.rejected[0]['detail']}; the match's starts_at, --speed and this hour do not fit"
                    )
                accepted += answer.accepted
                rejected += len(answer.rejected)
                refusals += answer.rejected[: 10 - len(refusals)]
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

    @asynccontextmanager
    async def _routes(self) -> AsyncIterator[dict[bool, Batches]]:
        """Where to send canonical events (True), and the provider's own records (False)."""
        target = self._target
        where = target.node, target.key, target.source
        how: _How = {"timeout_s": REQUEST_TIMEOUT_S, "give_up_after_s": self._give_up_after_s, "say": self._say}
        async with (
            Batches(*where, **how) as canonical,
            Batches(*where, provider=target.provider, match_id=target.match_id, **how) as records,
        ):
            yield {True: canonical, False: records}

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


def _all_outside(answer: Answered) -> bool:
    """Whether nothing of a batch lies in the admission window."""
    return not answer.accepted and {r["code"] for r in answer.rejected} in OUTSIDE


def _seconds(retry_after: str | None) -> float:
    """What Retry-After asks for, where it is a number; a date (RFC 9110) is left to the back-off."""
    try:
        return float(retry_after or 0)
    except ValueError:
        return 0.0


def _judged(answer: httpx2.Response) -> dict[str, Any]:
    """The answer's body, or the error that ends the replay."""
    try:
        body: dict[str, Any] = answer.json()
    except ValueError as error:
        raise UnavailableError(f"the node answered {answer.status_code} without JSON: is this eventhub?") from error
    if answer.is_success or answer.status_code == 412:
        return body
    kinds: dict[int, type[EventhubError]] = {401: UnauthorizedError, 403: ForbiddenError}
    raise kinds.get(answer.status_code, RejectedError)(str(body.get("detail", answer.status_code)))

"""The GET routes of delivery: match sheets, and the events of a match in log order."""

from collections.abc import Callable
from datetime import UTC, date
from typing import get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub.auth import bearer
from eventhub.delivery.cursor import Cursor, bad_cursor, parse
from eventhub.delivery.feed import Feed
from eventhub.delivery.past import Entry
from eventhub.delivery.ports import Principal, Registry
from eventhub.delivery.view import ANY, View, view_of
from eventhub.errors import MalformedError, NotFoundError
from eventhub.events import Match, Status
from eventhub.web import JSON

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


class Reads:
    """Answers from memory, history and the log. Every call needs an access token and raises EventhubError."""

    def __init__(self, feed: Callable[[], Feed], registry: Registry) -> None:
        self._feed_now = feed
        self._registry = registry

    def routes(self) -> list[BaseRoute]:
        """The routes."""
        return [
            Route("/v1/matches", self.matches, methods=["GET"], name="matches"),
            Route("/v1/matches/{match_id}", self.match, methods=["GET"], name="match"),
            Route("/v1/matches/{match_id}/events", self.events, methods=["GET"], name="events-of-a-match"),
        ]

    async def matches(self, request: Request) -> Response:
        """Sheets of the matches that fit `status`, `date` (UTC day of the start) and `competition`, by start."""
        feed, principal = self._authorized(request)
        status = request.query_params.get("status")
        if status is not None and status not in get_args(Status):
            raise MalformedError(
                f"there is no status {status[:40]!r}; it is one of {', '.join(get_args(Status))}", pointer="/status"
            )
        day = _day(request.query_params.get("date"))
        competition = request.query_params.get("competition")

        def fits(match: Match) -> bool:
            on_day = day is None or match.starts_at.astimezone(UTC).date() == day
            wanted = on_day and (competition is None or match.competition == competition)
            return wanted and principal.may_read(f"match:{match.match_id}")

        found = sorted(filter(fits, self._registry.values()), key=lambda m: (m.starts_at, m.match_id))
        sheets = [feed.tier(principal.plan, m.delay_s).sheets.of(m.match_id) for m in found]
        bodies = [sheet.body for sheet in sheets if status is None or sheet.status == status]
        return Response(b'{"items":[%s]}' % b",".join(bodies), media_type=JSON)

    async def match(self, request: Request) -> Response:
        """The sheet of a match."""
        feed, match_id = await self._of_match(request)
        return Response(feed.sheets.of(match_id).body, media_type=JSON)

    async def events(self, request: Request) -> Response:
        """A page of a match's events, each as it is on the log, with its cursor added.

        `incomplete` is true where history has a gap behind the cursor, in which events of this match may have been.
        """
        feed, match_id = await self._of_match(request)
        partition = feed.source.partition_of(match_id)
        limit = _limit(request.query_params.get("limit"))
        names = [name for given in request.query_params.getlist("type") for name in given.split(",")]
        after = _after(request.query_params.get("cursor"), feed.source.epoch, partition)
        entries, whole = await _collect(feed, match_id, after, limit + 1, view_of([], names, [ANY]))
        cursors = [str(Cursor(feed.source.epoch, {partition: entry.offset})).encode() for entry in entries[:limit]]
        pairs = zip(entries, cursors, strict=False)
        # The event's bytes stay as they are; the cursor is written into their end.
        items = b",".join(b'%s,"cursor":"%s"}' % (entry.value.rstrip()[:-1], cursor) for entry, cursor in pairs)
        following = b'"%s"' % cursors[-1] if len(entries) > limit else b"null"
        told = b"" if whole else b',"incomplete":true'
        return Response(b'{"items":[%s],"next_cursor":%s%s}' % (items, following, told), media_type=JSON)

    def _authorized(self, request: Request) -> tuple[Feed, Principal]:
        feed = self._feed_now()
        return feed, feed.check(bearer(request.headers.get("authorization")))

    async def _of_match(self, request: Request) -> tuple[Feed, str]:
        """The match that is asked for, and the feed whose horizon holds for it."""
        feed, principal = self._authorized(request)
        match_id: str = request.path_params["match_id"]
        principal.allow(f"match:{match_id}")
        if match_id not in self._registry:
            await feed.catch_up_registry()
        if match_id not in self._registry:
            raise NotFoundError(f"there is no match {match_id[:80]!r}; it was not declared", code="unknown_match")
        return feed.tier(principal.plan, self._registry[match_id].delay_s), match_id


async def _collect(feed: Feed, match_id: str, after: int, count: int, view: View) -> tuple[list[Entry], bool]:
    found: list[Entry] = []
    whole = True
    partition = feed.source.partition_of(match_id)
    while len(found) < count:
        page = await feed.past.page(match_id, after, count, view, over_gaps=True)
        found += page.entries
        whole = whole and page.whole
        if page.upto <= after or page.upto >= feed.hub.seen[partition]:
            break
        after = page.upto
    return found[:count], whole


def _after(text: str | None, epoch: str, partition: int) -> int:
    if text is None:
        return -1
    cursor = parse(text)
    if cursor.epoch != epoch:
        raise MalformedError("the log was begun anew since this cursor; start without one", code="epoch_changed")
    if partition not in cursor.seen:
        raise bad_cursor(text, "it is of another match")
    return cursor.seen[partition]


def _limit(text: str | None) -> int:
    # Python refuses to read thousands of digits as a number, so their count is checked first.
    limit = int(text) if text is not None and len(text) < 10 and text.isascii() and text.isdigit() else DEFAULT_LIMIT
    if (text is not None and text != str(limit)) or not 1 <= limit <= MAX_LIMIT:
        raise MalformedError(f"limit is {(text or '')[:40]!r}; it is a number from 1 to {MAX_LIMIT}", pointer="/limit")
    return limit


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return msgspec.convert(text, date)
    except msgspec.ValidationError as error:
        raise MalformedError(f"date is {text[:40]!r}; it is written as 2026-05-30", pointer="/date") from error

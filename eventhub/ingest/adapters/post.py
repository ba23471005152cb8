"""Posts of social media: one JSON object a line, whoever collected them. One record becomes one `post`.

`{"id","text","lang","author","created_at"}`, or `clock_s` on the match clock instead of `created_at`; other fields are
ignored. What a person wrote stays as it is, up to TEXT_MAX characters.
"""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import Incoming, Match, Moment, Source
from eventhub.ingest.adapters import Feed
from eventhub.ingest.adapters.reading import Count, Id, check_clock, decode, whole

TEXT_MAX = 2_000
HANDLE_MAX = 100
UNKNOWN = "und"
"""The tag for a language that nobody determined (RFC 5646, 4.1)."""
TAG = re.compile(
    r"([A-Za-z]{2,3})(-[A-Za-z]{4})?(-(?:[A-Za-z]{2}|[0-9]{3}))?((?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*)"
)
"""RFC 5646, 2.1, without extensions, private use and grandfathered tags: language, script, region, variants."""


class Post(msgspec.Struct):
    """The fields that are read."""

    id: Id | Count
    text: str
    author: str
    lang: Any = None
    created_at: Moment | None = None
    clock_s: float | None = None


class PostAdapter:
    """Maps posts of a social feed."""

    provider = "post"
    source: Source = "social"

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Post)

    def map(self, record: bytes, match: Match) -> Incoming:
        """The canonical event of one post. Raises RejectedError with code and pointer."""
        post = decode(self._decoder, record, "a post")
        clock_s = None if post.clock_s is None else check_clock(post.clock_s, "/clock_s")
        return Incoming(
            match_id=match.match_id,
            type="post",
            occurred_at=_occurred_at(post.created_at, clock_s, match),
            source_event_id=str(post.id),
            clock_s=clock_s,
            payload={"text": _text(post.text), "lang": tag(post.lang), "author": _handle(post.author)},
        )

    def read(self, path: Path) -> Feed:
        """A file of one post a line, gzipped or not. It declares no match; posts are put in order of their time.

        Raises MalformedError naming the file and the line.
        """
        posts: list[tuple[float, bytes]] = []
        dated: set[bool] = set()
        for number, line in enumerate(whole(path, "a file of posts").split(b"\n"), 1):
            if not line.strip():
                continue
            place = f"{path.name}, line {number}"
            at_s, is_dated = self._time(line, place)
            dated.add(is_dated)
            if len(dated) > 1:
                raise MalformedError(f"{place}: created_at on some lines and clock_s alone on others; use one of them")
            posts.append((at_s, line.strip()))
        if not posts:
            raise MalformedError(f"{path.name} holds no posts; one JSON object a line is needed")
        posts.sort(key=lambda post: post[0])
        begins_s = posts[0][0] if dated == {True} else 0.0
        return Feed({}, [("", at_s - begins_s, line) for at_s, line in posts], dated=dated == {True})

    def _time(self, line: bytes, place: str) -> tuple[float, bool]:
        """When a post is due in seconds, since 1970 if it is dated, and whether it is."""
        try:
            post = decode(self._decoder, line, "a post")
            if post.created_at is not None:
                return post.created_at.timestamp(), True
            if post.clock_s is not None:
                return check_clock(post.clock_s, "/clock_s"), False
        except RejectedError as error:
            raise MalformedError(f"{place}: {error.detail}") from error
        raise MalformedError(f"{place} has neither created_at nor clock_s")


def tag(lang: Any) -> str:
    """A BCP 47 tag in its usual case (RFC 5646, 2.1.1), or UNKNOWN for what cannot be one."""
    found = TAG.fullmatch(lang) if isinstance(lang, str) else None
    if found is None:
        return UNKNOWN
    language, script, region, variants = (part or "" for part in found.groups())
    return language.lower() + script.title() + region.upper() + variants.lower()


def _occurred_at(created_at: datetime | None, clock_s: float | None, match: Match) -> datetime:
    if created_at is not None:
        return created_at
    if clock_s is not None:
        return match.starts_at + timedelta(seconds=clock_s)
    raise RejectedError("a post needs created_at or clock_s", code="malformed", pointer="/created_at")


def _text(text: str) -> str:
    if not text.strip():
        raise RejectedError("the text is empty", code="malformed", pointer="/text")
    # The mark says that something is missing; a refusal would lose the whole post.
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "\u2026"


def _handle(author: str) -> str:
    name = author.strip().lstrip("@").strip()
    if not 0 < len(name) <= HANDLE_MAX:
        raise RejectedError(
            f"an author's handle has 1 to {HANDLE_MAX} characters, not {len(name)}", code="malformed", pointer="/author"
        )
    return f"@{name}"

"""The adapter of posts: times, languages, handles, limits, refusals, files."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import Incoming, Match, Team
from eventhub.ingest.adapters.post import PostAdapter

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
MATCH = Match("m1", Team("1", "Home"), Team("2", "Away"), START)
POST: dict[str, Any] = {"id": "p1", "text": "Goal!", "lang": "en", "author": "@ana", "clock_s": 61.5}
DATED = "2026-07-01T20:10:00+02:00"


def mapped(**changes: Any) -> Incoming:
    return PostAdapter().map(json.dumps(POST | changes).encode(), MATCH)


def test_a_post_has_its_text_language_and_author() -> None:
    event = mapped(likes=7, user={"id": 1})
    assert event.type == "post"
    assert event.source_event_id == "p1"
    assert event.payload == {"text": "Goal!", "lang": "en", "author": "@ana"}


def test_it_occurred_when_it_was_made_or_at_its_second_of_the_match() -> None:
    assert mapped().occurred_at == START + timedelta(seconds=61.5)
    assert mapped().clock_s == 61.5
    assert mapped(created_at=DATED).occurred_at == START + timedelta(minutes=10)
    assert mapped(created_at=DATED, clock_s=None).clock_s is None


@pytest.mark.parametrize(
    ("lang", "tag"),
    [
        ("en", "en"),
        ("PT-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sr-latn", "sr-Latn"),
        ("de-1996", "de-1996"),
        ("sl-rozaj", "sl-rozaj"),
        ("und", "und"),
        ("en_GB", "und"),
        ("english language", "und"),
        ("e", "und"),
        ("en-", "und"),
        ("en\n", "und"),
        ("", "und"),
        (None, "und"),
        (7, "und"),
        (["en"], "und"),
    ],
)
def test_a_language_is_a_tag_that_can_be_one(lang: Any, tag: str) -> None:
    assert mapped(lang=lang).payload["lang"] == tag


@pytest.mark.parametrize("author", ["ana", "@ana", " @ana ", "@@ana", "@ ana"])
def test_a_handle_begins_with_one_at_sign(author: str) -> None:
    assert mapped(author=author).payload["author"] == "@ana"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert mapped(text="é" * 2000).payload["text"] == "é" * 2000
    assert mapped(text="é" * 2001).payload["text"] == "é" * 1999 + "…"


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"text": ""}, "malformed", "/text"),
        ({"text": " \n\t"}, "malformed", "/text"),
        ({"text": 7}, "malformed", "/text"),
        ({"author": ""}, "malformed", "/author"),
        ({"author": "@"}, "malformed", "/author"),
        ({"author": "x" * 101}, "malformed", "/author"),
        ({"author": None}, "malformed", "/author"),
        ({"id": ""}, "malformed", "/id"),
        ({"id": None}, "malformed", "/id"),
        ({"id": -1}, "number_range", "/id"),
        ({"clock_s": None}, "malformed", "/created_at"),
        ({"clock_s": -1}, "number_range", "/clock_s"),
        ({"clock_s": 20_001}, "number_range", "/clock_s"),
        ({"created_at": "yesterday"}, "malformed", "/created_at"),
        ({"created_at": "2026-07-01T20:10:00"}, "malformed", "/created_at"),
    ],
)
def test_a_post_that_cannot_be_taken_is_refused_with_its_place(changes: Any, code: str, pointer: str) -> None:
    with pytest.raises(RejectedError) as caught:
        mapped(**changes)
    assert (caught.value.name, caught.value.pointer) == (code, pointer)


def lines(*posts: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(post).encode() for post in posts)


def test_a_file_is_read_in_order_of_time_gzipped_or_not_with_blank_lines(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "posts.ndjson", tmp_path / "posts.ndjson.gz"
    late, early = POST | {"id": "late", "clock_s": 90}, POST | {"id": "early", "clock_s": 30}
    plain.write_bytes(lines(late) + b"\r\n\n" + lines(early) + b"\n")
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    feed = PostAdapter().read(plain)
    assert feed == PostAdapter().read(zipped)
    assert feed.records == [("", 30.0, lines(early)), ("", 90.0, lines(late))]
    assert (feed.declaration, feed.periods, feed.dated) == ({}, [], False)


def test_posts_with_dates_are_due_as_long_after_the_first_as_they_were_made(tmp_path: Path) -> None:
    file = tmp_path / "posts.ndjson"
    first, second = POST | {"created_at": "2020-01-01T12:00:00Z"}, POST | {"created_at": "2020-01-01T13:01:00+01:00"}
    file.write_bytes(lines(second, first))
    feed = PostAdapter().read(file)
    assert feed.dated
    assert feed.records == [("", 0.0, lines(first)), ("", 60.0, lines(second))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no posts"),
        (b"\n \n", "holds no posts"),
        (b"\x1f\x8bbroken", "is not a file of posts"),
        (lines(POST) + b"\n{", "line 2"),
        (lines(POST) + b"\n\n[]", "line 3"),
        (lines(POST, {"id": 1}), "line 2"),
        (lines(POST, POST | {"clock_s": None}), "line 2 has neither"),
        (lines(POST, POST | {"created_at": DATED}), "line 2: created_at on some lines"),
        (lines(POST | {"clock_s": -1}), "line 1"),
    ],
)
def test_a_file_that_is_none_is_named_with_the_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "posts.ndjson"
    file.write_bytes(content)
    with pytest.raises(MalformedError, match=rf"posts\.ndjson.*{told}"):
        PostAdapter().read(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"none\.ndjson"):
        PostAdapter().read(tmp_path / "none.ndjson")

"""`eventhub dlq`: what a record's headers say, times as people write them, asking before many, and bytes as text."""

import contextlib
import io
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventhub.cli.dlq import _body, _confirm, moment
from eventhub.dead_letters import letters as folding
from eventhub.errors import UsageError

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("headers", "own", "raw"),
    [
        ([("stage", b"s"), ("code", b"c"), ("h", b"x")], {"stage": "s", "code": "c"}, [("h", b"x")]),
        ([("stage", b"s"), ("stage", b"raw"), ("h", b"x")], {"stage": "s"}, [("stage", b"raw"), ("h", b"x")]),
        ([("h", b"x"), ("code", b"raw")], {}, [("h", b"x"), ("code", b"raw")]),
        ([], {}, ()),
    ],
)
def test_the_raw_records_headers_begin_where_a_name_is_not_ours_or_comes_again(
    headers: Any, own: dict[str, str], raw: Any
) -> None:
    assert folding.split(headers) == (own, raw)


@pytest.mark.parametrize(
    "key", ["", "x.1.2", "broadcast-events", "broadcast-events.1", "broadcast-events.1.x", "a.b.c.d"]
)
def test_a_key_that_names_no_origin_is_none(key: str) -> None:
    assert folding.origin(key) is None


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-31T18:00:00Z", datetime(2026, 1, 31, 18, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_or_so_long_ago(text: str, since: datetime) -> None:
    assert moment(text, NOW) == since


def test_since_that_is_neither_is_refused() -> None:
    with pytest.raises(UsageError, match="--since soon"):
        moment("soon", NOW)


class Terminal(io.StringIO):
    """What a person types, or with `there` False a pipe."""

    def __init__(self, typed: str, *, there: bool = True) -> None:
        super().__init__(typed)
        self._there = there

    def isatty(self) -> bool:
        return self._there


@pytest.mark.parametrize(
    ("typed", "there", "yes", "count", "refused"),
    [
        ("y\n", True, False, 2, None),
        ("\n", True, False, 2, "nothing was done"),
        ("y\n", False, False, 2, "--yes"),
        ("", False, True, 2, None),
        ("", False, False, 1, None),
    ],
)
def test_more_than_one_letter_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, typed: str, there: bool, yes: bool, count: int, refused: str | None
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed, there=there))
    monkeypatch.setattr(sys, "stderr", Terminal("", there=there))
    with pytest.raises(UsageError, match=refused) if refused else contextlib.nullcontext():
        _confirm("send again", [None] * count, yes=yes)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"a":1}', {"value": {"a": 1}}),
        (None, {"value": None}),
        (b"\xff\x00", {"value_hex": "ff00"}),
        (b"[" * 100_000, {"value_hex": "5b" * 100_000}),
    ],
)
def test_bytes_are_shown_as_json_where_they_are_json(body: bytes | None, shown: Any) -> None:
    assert _body(body) == shown

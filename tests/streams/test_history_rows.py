"""The row of a log record: whatever the record holds, there is one, so that it never holds history up."""

from typing import Any, NamedTuple

import pytest

from eventhub import topics
from eventhub.record import MARKER, pack_tags, pack_vector
from eventhub.streams import history

NESTED = b'{"occurred_at":"2026-07-01T18:00:00Z","payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


class Consumed(NamedTuple):
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    offset: int = 7


def consumed(value: bytes | None) -> Consumed:
    tags = pack_tags(bytes(16), bytes(8), b"n:pass") if value is not None else b""
    vector = pack_vector(MARKER, (-1,) * len(topics.RAW), bytes(4 * len(topics.RAW)))
    return Consumed(b"m", value, [("h", vector + tags)])


def test_a_record_that_can_be_read_has_its_bytes_in_its_row_and_a_marker_has_none() -> None:
    value = b'{"occurred_at":"2026-07-01T18:00:00Z"}'
    row = history.row(consumed(value))
    assert row is not None
    assert (row.body, row.flaw, row.occurred_at) == (value.decode(), None, "2026-07-01T18:00:00Z")
    assert history.row(consumed(None)) is None


@pytest.mark.parametrize("value", [b"\xff\x00", b"{}", NESTED], ids=["no-json", "no-time", "nested"])
def test_a_record_that_cannot_be_read_is_stored_with_a_flaw(value: bytes) -> None:
    row = history.row(consumed(value))
    assert row is not None
    assert (row.body, row.flawed_bytes, row.type) == (None, value, "pass")
    assert row.flaw


def test_a_defect_of_the_step_is_a_flaw_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(value: bytes) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(history, "_occurred", defective)
    row = history.row(consumed(b"{}"))
    assert row is not None
    assert row.flaw is not None
    assert row.flaw.startswith("ZeroDivisionError")

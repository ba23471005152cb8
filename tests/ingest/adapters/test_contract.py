"""The contract of every installed adapter: golden records, pure, inside the vocabulary."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventhub.events import TYPES, Incoming, Match, Team
from eventhub.ingest import adapters
from eventhub.ingest.accept import Acceptor

START = datetime(2026, 7, 1, 18, tzinfo=UTC)
ADAPTERS = adapters.load()


def golden(provider: str) -> tuple[Match, list[dict[str, Any]]]:
    file = json.loads((Path(__file__).parent / "golden" / f"{provider}.json").read_text())
    return Match("golden", Team(**file["home"]), Team(**file["away"]), START), file["pairs"]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_golden_records_map_to_golden_events(provider: str) -> None:
    match, pairs = golden(provider)
    assert len(pairs) >= 25
    for pair in pairs:
        event = ADAPTERS[provider].map(json.dumps(pair["record"]).encode(), match)
        assert json.loads(msgspec.json.encode(event)) == pair["event"]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_mapping_is_a_function_of_the_record_and_the_match(provider: str) -> None:
    match, pairs = golden(provider)
    records = [json.dumps(pair["record"]).encode() for pair in pairs]
    forwards = [ADAPTERS[provider].map(r, match) for r in records]
    backwards = [adapters.load()[provider].map(r, match) for r in reversed(records)]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_what_is_mapped_passes_ingest_as_it_is(provider: str) -> None:
    adapter = ADAPTERS[provider]
    match, pairs = golden(provider)
    acceptor = Acceptor(adapter.source, {"golden": match}, {}, max_depth=16)  # type: ignore[arg-type]
    for pair in pairs:
        event = msgspec.json.decode(json.dumps(pair["event"]), type=Incoming)
        assert adapter.source in TYPES[event.type].sources
        acceptor.accept(json.dumps(pair["event"]).encode(), None, event.occurred_at, {})

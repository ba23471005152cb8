"""The stream's documents say what the code does: valid AsyncAPI, examples that decode, and what a real node sends."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from eventhub.delivery import messages
from eventhub.documents import asyncapi, frames
from eventhub.documents.protocol import MESSAGES, Message

SPECIFICATION = Path(__file__).with_name("asyncapi-3.0.0.schema.json.gz")
"""The JSON Schema that the AsyncAPI initiative publishes (Apache-2.0), packed, without its examples."""
_any_sent: msgspec.json.Decoder[Any] = msgspec.json.Decoder(frames.AnySent)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of some version."""
    return asyncapi.document("1.2.3")


def test_it_is_valid_asyncapi_3(document: dict[str, Any]) -> None:
    specification = json.loads(gzip.decompress(SPECIFICATION.read_bytes()))
    assert [error.message for error in Draft7Validator(specification).iter_errors(document)] == []
    assert (document["asyncapi"], document["info"]["version"]) == ("3.0.0", "1.2.3")


def test_the_specification_would_notice_a_fault(document: dict[str, Any]) -> None:
    specification = json.loads(gzip.decompress(SPECIFICATION.read_bytes()))
    broken = document | {"operations": {"feed": {"action": "shout"}}}
    assert list(Draft7Validator(specification).iter_errors(broken))


@pytest.mark.parametrize("one", MESSAGES, ids=[f"{n}-{one.name}" for n, one in enumerate(MESSAGES)])
def test_an_example_is_what_the_code_decodes(one: Message, document: dict[str, Any]) -> None:
    packed = msgspec.json.encode(one.example)
    decoded = messages.command(packed) if one.by == "client" else _any_sent.decode(packed)
    assert type(decoded) is one.shape
    # And every field of the example is one that the struct has: decoders pass over what they do not know.
    assert set(one.example) - {"type"} <= {field.encode_name for field in msgspec.structs.fields(one.shape)}
    schema = document["components"]["messages"][one.name]["payload"]
    whole = {**schema, "components": document["components"]}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(one.example)] == []


def test_every_command_and_every_message_of_a_node_has_an_example() -> None:
    assert {one.shape for one in MESSAGES if one.by == "client"} == set(messages.Command.__args__)
    assert {one.shape for one in MESSAGES if one.by == "node"} == set(frames.SENT)

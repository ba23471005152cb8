"""AsyncAPI 3.0 of the stream, made from the table of messages, their structs and the vocabulary.

Pure: the same version gives the same document. The specification: asyncapi.com/docs/reference/specification/v3.0.0.
"""

from typing import Any

import msgspec

from eventhub.delivery.messages import SUBPROTOCOL
from eventhub.documents.codes import ERRORS, meaning
from eventhub.documents.protocol import MESSAGES, Message
from eventhub.documents.shapes import say_more

Json = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"
ADDRESS = "/v1/stream"
STREAM = "#/channels/stream"


def document(version: str) -> Json:
    """The document as a tree of JSON values. `version` is the package's."""
    by_name: dict[str, list[Message]] = {}
    for one in MESSAGES:
        by_name.setdefault(one.name, []).append(one)
    kinds = [told[0].shape for told in by_name.values()]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    say_more(components)
    said = {name: _message(told, schema) for (name, told), schema in zip(by_name.items(), schemas, strict=True)}
    by = {side: [name for name, told in by_name.items() if told[0].by == side] for side in ("client", "node")}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "eventhub", "version": version, "description": _introduction()},
        "defaultContentType": "application/json",
        "servers": {"node": {"host": "localhost:8000", "protocol": "ws", "description": "Any node of the platform."}},
        "channels": {
            "stream": {
                "address": ADDRESS,
                "description": f"One WebSocket with the subprotocol `{SUBPROTOCOL}`.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in said},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "commands": _operation("receive", "What a client says.", by["client"]),
            "feed": _operation("send", "What a node says.", by["node"]),
        },
        "components": {"messages": said, "schemas": components},
    }


def _message(told: list[Message], schema: Json) -> Json:
    return {
        "name": told[0].name,
        "summary": told[0].meaning,
        "payload": schema,
        "examples": [{"payload": one.example} for one in told],
    }


def _operation(action: str, summary: str, names: list[str]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": STREAM},
        "summary": summary,
        "messages": [{"$ref": f"{STREAM}/messages/{name}"} for name in names],
    }


def _introduction() -> str:
    closes = "\n".join(f"- {e.close_code} `{e.code}`: {meaning(e)}" for e in ERRORS)
    return (
        "A frame holds one or more messages, one per line; the answer to a subscribe shares its frame with the first"
        " state. A cursor is opaque: events follow from the one behind it, and no gap can be inferred from it. Unknown"
        " fields and messages are to be ignored.\n\n"
        f"A close code from 3000 to 3499 means reconnect, from 3500 to 3999 do not:\n\n{closes}\n"
    )

"""OpenAPI 3.1 of the external port, made from the table of operations, the structs of the code and the vocabulary.

Pure: the same version gives the same document.
"""

from typing import Any, get_args

import msgspec

from eventhub.documents import shapes
from eventhub.documents.codes import ERRORS, PROBLEM_CODES
from eventhub.documents.operation import Access, Answer, Operation, Parameter
from eventhub.documents.operations import OPERATIONS
from eventhub.documents.reference import COORDINATES
from eventhub.events import TYPES
from eventhub.mode import Name
from eventhub.web import PROBLEM

Json = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"
RETRY = (429, 503)

SCHEMES: dict[Access, str] = {
    "ingestKey": "A key of the path's source: `eventhub keys create sensors|broadcast|social`.",
    "adminKey": "A key for declaring matches: `eventhub keys create admin`.",
    "accessToken": "An access token, valid for 15 minutes: `POST /v1/auth/login`, `eventhub token create`, or one of an"
    " issuer that the operators trust.",
}
TAGS = {
    "ingest": "Events in. An answer of 202 means that they are on the log and stay there.",
    "matches": "Reads: match sheets, and what happened in log order.",
    "accounts": "Logging in, renewing access tokens, logging out. A refresh token is used once, for the next one.",
    "documents": "What describes this interface.",
}
HEADERS: dict[str, Json] = {
    "Eventhub-Mode": {
        "description": "The platform's mode: `read_only` refuses what would change it, the live feed goes on.",
        "schema": {"type": "string", "enum": list(get_args(Name))},
        "required": True,
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    "Cache-Control": {"description": "For how long it may be kept.", "schema": {"type": "string"}},
    "ETag": {"description": "Changes when the document does.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}},
}
_REFUSED = {
    400: "Something in the request cannot be read; nothing of it was done.",
    422: "The request can be read, but not be carried out.",
    429: "A limit of the caller is reached; `Retry-After` says when to come back.",
    503: "Something is down, overloaded or not ready yet, or the platform is read-only; `Retry-After` says when to come"
    " back.",
}


def document(version: str) -> Json:
    """The document as a tree of JSON values. `version` is the package's."""
    kinds = [shapes.Problem, *_kinds(OPERATIONS)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    made = dict(zip(map(_key, kinds), schemas, strict=True))
    shapes.say_more(components)
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, made)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "eventhub",
            "version": version,
            "summary": "Live sports events, in one durable order, to everyone who watches",
            "description": _introduction(),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"Refused{status}": _refusal(status) for status in _statuses(OPERATIONS)},
            "headers": HEADERS,
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text} for name, text in SCHEMES.items()
            },
        },
    }


def _introduction() -> str:
    payloads = "\n".join(f"- `{kind.name}` ({kind.lane}): {_payload(kind.payload)}" for kind in TYPES.values())
    return (
        "Sources send events, watchers read them; the live feed itself is a WebSocket: `GET /v1/stream` with an upgrade"
        " and the subprotocol `eventhub.v1+json`, described by `/asyncapi.json`.\n\n"
        "Every refusal is a problem (RFC 9457) with a `code` that never changes. A failure of the server itself is 500"
        " with the code `internal`; a path or method that is not there is 404 or 405, a URL or headers that are too"
        " large are 431, all of them problems too. Fields and codes may be added to answers; none is renamed.\n\n"
        "Times are RFC 3339 in UTC, durations carry their unit in the name, coordinates (`x`, `y`, `end_x`, `end_y`)"
        " are metres from the centre of a pitch of 105 x 68, the home side attacking towards +x.\n\n"
        f"### Event types and their payloads\n\n{payloads}\n"
    )


def _payload(fields: dict[str, str]) -> str:
    said = [f"`{name}`" if name in COORDINATES else f"`{name}`: {meaning}" for name, meaning in fields.items()]
    return ", ".join(said) or "no fields"


def _kinds(operations: tuple[Operation, ...]) -> list[Any]:
    """Every type that an operation takes or answers, once, in the order of the table."""
    found = [shape for one in operations for shape in one.body.values()]
    found += [answer.shape for one in operations for answer in one.answers]
    return list({_key(kind): kind for kind in found if kind is not None and not isinstance(kind, dict)}.values())


def _key(kind: Any) -> str:
    return str(kind)


def _schema(shape: Any, made: dict[str, Json]) -> Json:
    return shape if isinstance(shape, dict) else made[_key(shape)]


def _operation(one: Operation, made: dict[str, Json]) -> Json:
    told: Json = {
        "operationId": one.name,
        "tags": [_tag(one)],
        "summary": one.summary,
        "description": one.text,
        "security": [] if one.access is None else [{one.access: []}],
    }
    if one.parameters:
        told["parameters"] = [_parameter(parameter) for parameter in one.parameters]
    if one.body:
        content = {media: {"schema": _schema(shape, made)} for media, shape in one.body.items()}
        told["requestBody"] = {"required": True, "content": content}
    told["responses"] = _responses(one, made)
    return told


def _tag(one: Operation) -> str:
    if one.path.startswith("/v1/auth/"):
        return "accounts"
    if one.access is None:
        return "documents"
    return "matches" if one.access == "accessToken" else "ingest"


def _parameter(one: Parameter) -> Json:
    told = {
        "name": one.name,
        "in": one.place,
        "required": one.required,
        "description": one.meaning,
        "schema": one.schema,
    }
    return told if one.explode else {**told, "explode": False}


def _responses(one: Operation, made: dict[str, Json]) -> Json:
    told = {str(answer.status): _answer(answer, made) for answer in one.answers}
    for status in one.refusals:
        own = told.get(str(status))
        if own is None:
            told[str(status)] = {"$ref": f"#/components/responses/Refused{status}"}
        else:
            own["content"] |= _refusal(status)["content"]
    return dict(sorted(told.items()))


def _answer(one: Answer, made: dict[str, Json]) -> Json:
    told: Json = {"description": one.meaning, "headers": _headers(one.headers)}
    if one.shape is not None:
        told["content"] = {one.media: {"schema": _schema(one.shape, made)}}
    return told


def _statuses(operations: tuple[Operation, ...]) -> list[int]:
    return sorted({status for one in operations for status in one.refusals})


def _refusal(status: int) -> Json:
    codes = ", ".join(f"`{code.name}`" for code in PROBLEM_CODES.values() if code.error.status == status)
    meaning = _REFUSED.get(status) or next(kind.__doc__ or "" for kind in ERRORS if kind.status == status)
    retry = ("Retry-After",) if status in RETRY else ()
    return {
        "description": f"{' '.join(meaning.split())} Codes: {codes}.",
        "headers": _headers(retry + (("WWW-Authenticate",) if status == 401 else ())),
        "content": {PROBLEM: {"schema": {"$ref": REFERENCE.format(name="Problem")}}},
    }


def _headers(names: tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("Eventhub-Mode", *names)}

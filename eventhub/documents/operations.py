"""Every operation of the external port in one table: what it takes, what it answers, whom it lets in.

The stream is not an operation of HTTP (AsyncAPI describes it), nor are the live page and the viewer. A test compares
this table with the routes that a node serves.
"""

from typing import Any, get_args

from eventhub.config import Ingest
from eventhub.delivery.reads import DEFAULT_LIMIT, MAX_LIMIT
from eventhub.documents import shapes
from eventhub.documents.accounts import ACCOUNTS
from eventhub.documents.operation import Answer, Operation, Parameter
from eventhub.events import TYPES, Match, Source, Status
from eventhub.ingest.decode import NDJSON
from eventhub.ingest.matches import Declaration
from eventhub.ingest.status import KeyStatus
from eventhub.web import JSON, PROBLEM

_LIMITS = Ingest()
_TEXT: dict[str, Any] = {"type": "string"}
_TYPES = {"type": "array", "items": {"type": "string", "enum": list(TYPES)}}

MATCH_ID = Parameter(
    "match_id", "path", {"type": "string", "minLength": 1, "maxLength": 200}, "Id of the match.", required=True
)
SOURCE = Parameter(
    "source", "path", {"type": "string", "enum": list(get_args(Source))}, "Kind of the source.", required=True
)
PROVIDER = Parameter("provider", "path", _TEXT, "Whose records they are, `wyscout` for one.", required=True)
DRY_RUN = Parameter("dry_run", "query", {"type": "boolean", "default": False}, "Answer the events, store nothing.")
OF_MATCH = Parameter("match_id", "query", _TEXT, "Declared match that the records belong to.", required=True)
ONLY_NEW = Parameter("If-None-Match", "header", {"const": "*"}, "`*`: declare only a match that is new.")

_LINES = {
    "type": "string",
    "description": "One event a line. A broken line spoils only itself.",
}
_RECORDS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "object"},
    "minItems": 1,
    "maxItems": _LIMITS.max_items,
    "description": "The provider's own records, as it made them.",
}
_BOUNDS = (
    f"At most {_LIMITS.max_items} items and {_LIMITS.max_body_bytes >> 20} MiB, unpacked (both are settings);"
    " `Content-Encoding: gzip` is understood."
)
_INGEST_REFUSALS = (400, 401, 403, 404, 408, 413, 422, 429, 503)
_INGEST_ANSWERS = (
    Answer(200, "`dry_run` only: what would become of each item; nothing was stored.", shapes.DryRun),
    Answer(
        202,
        "Accepted items are safe: on the log, or (`durable` says so) on this node's disk on the way to it.",
        shapes.Accepted,
    ),
    Answer(422, "Nothing was accepted; each item says why. Or the request as a whole is refused.", shapes.Accepted),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "PUT",
        "/v1/matches/{match_id}",
        "declareMatch",
        "Declare a match, or change it",
        "Idempotent. Events are accepted only for declared matches. Ids and names are 1 to 200 printable characters;"
        " `starts_at` is when the match is to start. Needs an admin key. While the platform is read-only it answers 503"
        " with the code `read_only`.",
        "adminKey",
        (MATCH_ID, ONLY_NEW),
        {JSON: Declaration},
        (
            Answer(200, "The match was known; this is how it is declared now.", Match),
            Answer(201, "The match is new.", Match),
            Answer(
                412,
                "`If-None-Match: *` was sent and the match is declared already; `match` is how.",
                shapes.Exists,
                media=PROBLEM,
            ),
        ),
        (400, 401, 403, 408, 413, 422, 429, 503),
    ),
    Operation(
        "POST",
        "/v1/ingest/{source}",
        "ingest",
        "Send events",
        "One event, an array, or NDJSON. Each item stands alone: an invalid one never holds back a valid one. Sending"
        f" the same bytes again is safe: duplicates are dropped by `source_event_id` and `revision`. {_BOUNDS}",
        "ingestKey",
        (SOURCE, DRY_RUN),
        {JSON: shapes.Events, NDJSON[0]: _LINES},
        _INGEST_ANSWERS,
        _INGEST_REFUSALS,
    ),
    Operation(
        "POST",
        "/v1/ingest/{source}/{provider}",
        "ingestProvider",
        "Send a provider's own records",
        f"An adapter on the node maps each record to an event of the vocabulary. {_BOUNDS}",
        "ingestKey",
        (SOURCE, PROVIDER, OF_MATCH, DRY_RUN),
        {JSON: _RECORDS, NDJSON[0]: _LINES},
        _INGEST_ANSWERS,
        _INGEST_REFUSALS,
    ),
    Operation(
        "GET",
        "/v1/ingest/status",
        "getIngestStatus",
        "How your own feed does",
        "What this node knows of the key that asks, since it started: counts, lateness, and the last refusals. Behind"
        " several nodes, each knows its own share.",
        "ingestKey",
        (),
        {},
        (Answer(200, "Counts of the key.", KeyStatus),),
        (401, 429, 503),
    ),
    Operation(
        "GET",
        "/v1/matches",
        "listMatches",
        "Match sheets, by start",
        "All declared matches, or those that fit every given filter.",
        "accessToken",
        (
            Parameter("status", "query", {"type": "string", "enum": list(get_args(Status))}, "Only with this status."),
            Parameter("date", "query", {"type": "string", "format": "date"}, "Only those that start on this UTC day."),
            Parameter("competition", "query", _TEXT, "Only of this competition."),
        ),
        {},
        (Answer(200, "The sheets.", shapes.SheetList),),
        (400, 401, 429, 503),
    ),
    Operation(
        "GET",
        "/v1/matches/{match_id}",
        "getMatch",
        "The sheet of a match",
        "Its state as of `cursor`; the stream goes on from there without a gap.",
        "accessToken",
        (MATCH_ID,),
        {},
        (Answer(200, "The sheet.", shapes.MatchSheet),),
        (401, 403, 404, 429, 503),
    ),
    Operation(
        "GET",
        "/v1/matches/{match_id}/events",
        "listEvents",
        "Events of a match, in log order",
        "From the beginning, or after a cursor. Each item carries its own cursor.",
        "accessToken",
        (
            MATCH_ID,
            Parameter("cursor", "query", _TEXT, "Begin after this place. Absent: at the beginning."),
            Parameter(
                "limit",
                "query",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
                "Most events of one page.",
            ),
            Parameter(
                "type", "query", _TYPES, "Only these types, with commas between or repeated. Empty: all.", explode=False
            ),
        ),
        {},
        (Answer(200, "A page.", shapes.EventPage),),
        (400, 401, 403, 404, 410, 429, 503),
    ),
    Operation(
        "GET",
        "/v1/stream/sse",
        "streamEvents",
        "One channel, live, as Server-Sent Events",
        "For networks that break WebSocket. Every message of the stream is an event with its type as its name; the id"
        " is the cursor, so that `Last-Event-ID` resumes. `/asyncapi.json` has the messages. It never ends by itself.",
        "accessToken",
        (
            Parameter("channel", "query", _TEXT, "`match:ID` for one.", required=True),
            Parameter("cursor", "query", _TEXT, "Begin after this place. Absent: with the state as it stands."),
            Parameter("from", "query", {"const": "start"}, "`start`: the whole history."),
            Parameter("lanes", "query", _TEXT, "Only these lanes, with commas between.", explode=False),
            Parameter("types", "query", _TYPES, "Only these types, with commas between.", explode=False),
            Parameter("languages", "query", _TEXT, "Translations in these languages, with commas.", explode=False),
            Parameter("Last-Event-ID", "header", _TEXT, "The last id that came; before `cursor`."),
        ),
        {},
        (Answer(200, "Events, without an end.", _TEXT, media="text/event-stream"),),
        (400, 401, 403, 404, 429, 503),
    ),
    *ACCOUNTS,
    *(
        Operation(
            "GET",
            path,
            name,
            summary,
            meaning,
            None,
            (Parameter("If-None-Match", "header", _TEXT, "The `ETag` of an earlier answer."),),
            {},
            (
                Answer(200, "The document.", {"type": "object"}, ("ETag",)),
                Answer(304, "The document is still the one with this `ETag`.", None, ("ETag",)),
            ),
            (),
        )
        for path, name, summary, meaning in (
            (
                "/openapi.json",
                "getOpenApi",
                "This document",
                "Describes the version that runs. `/docs` shows it to people.",
            ),
            (
                "/asyncapi.json",
                "getAsyncApi",
                "The stream",
                "Describes the stream's messages, with examples (AsyncAPI 3).",
            ),
        )
    ),
)

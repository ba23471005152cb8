"""The document says what the code does: valid, complete in both directions, and the same words."""

import ast
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from eventhub import documents, errors, events
from eventhub.documents.codes import PROBLEM_CODES
from eventhub.documents.operations import OPERATIONS

SOURCES = Path(documents.__file__).parents[1]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of some version."""
    return documents.document("1.2.3")


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", "1.2.3")


def test_the_same_code_gives_the_same_document(document: dict[str, Any]) -> None:
    assert documents.document("1.2.3") == document


def test_every_code_in_the_sources_is_in_the_document(document: dict[str, Any]) -> None:
    told = set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    used = {code for path in SOURCES.rglob("*.py") for code in _codes(path)}
    assert len(used) > 20
    assert used <= told, "add them to the errors of eventhub/errors.py or to eventhub/documents/codes.py"
    assert set(errors.ITEM_CODES) <= told


def _codes(path: Path) -> set[str]:
    """What a file gives as `code=…` to an error, and what it sets as an error's `code`."""
    found: set[object] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found |= {k.value.value for k in node.keywords if k.arg == "code" and isinstance(k.value, ast.Constant)}
        elif isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            found |= {c for statement in node.body if isinstance(statement, ast.Assign) for c in _assigned(statement)}
    return {code for code in found if isinstance(code, str)}


def _assigned(statement: ast.Assign) -> list[object]:
    target, value = statement.targets[0], statement.value
    names = [n.id for n in getattr(target, "elts", [target]) if isinstance(n, ast.Name)]
    values = [getattr(v, "value", None) for v in getattr(value, "elts", [value])]
    return [v for name, v in zip(names, values, strict=False) if name == "code"]


def test_a_code_that_is_given_nowhere_is_not_in_the_document() -> None:
    used = {code for path in SOURCES.rglob("*.py") if "documents" not in path.parts for code in _codes(path)}
    assert set(PROBLEM_CODES) - set(errors.ITEM_CODES) - {"internal"} <= used


def test_event_types_and_their_payloads_are_told(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("Incoming", "StoredEvent"):
        assert schemas[name]["properties"]["type"]["enum"] == list(events.TYPES)
    text = document["info"]["description"]
    for kind in events.TYPES.values():
        told = next(line for line in text.splitlines() if line.startswith(f"- `{kind.name}` "))
        assert all(f"`{field}`" in told for field in kind.payload)


def test_waiting_is_told_where_it_helps(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    assert {status for status in ("429", "503") if "Retry-After" in responses[f"Refused{status}"]["headers"]} == {
        "429",
        "503",
    }


def test_every_operation_under_v1_wants_a_key_or_a_token() -> None:
    for one in OPERATIONS:
        # Who logs in has no token yet, and public keys are for everyone.
        is_open = not one.path.startswith("/v1/") or one.path.startswith("/v1/auth/")
        assert (one.access is None) == is_open, one.path
        assert one.access is None or {401, 503} <= set(one.refusals), one.path

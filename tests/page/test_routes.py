"""The page's routes over HTTP: what a browser is given, and who gets a token."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub import page, web
from eventhub.errors import EventhubError

ENDS = datetime(2026, 7, 1, 19, 15, tzinfo=UTC)
STATIC = {entry.name: entry.read_bytes() for entry in resources.files("eventhub.page").joinpath("static").iterdir()}
CLIENT = (Path(__file__).parents[2] / "clients" / "js" / "eventhub.js").read_bytes()
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def client(make_token: page.MakeToken | None, base_url: str = "http://127.0.0.1:8000") -> httpx2.AsyncClient:
    app = Starlette(routes=page.routes(make_token), exception_handlers={EventhubError: web.on_error})
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=base_url)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with client(lambda: ("a-token", ENDS)) as made:
        yield made


async def test_the_page_is_served_at_the_root(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == STATIC["index.html"]


@pytest.mark.parametrize("name", sorted(STATIC))
async def test_every_file_comes_with_its_type_and_the_headers_of_a_strict_page(
    http: httpx2.AsyncClient, name: str
) -> None:
    answer = await http.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8"
    assert answer.content == STATIC[name]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_client_is_served_to_everybody_as_it_is_kept(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/eventhub.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.content == CLIENT
    again = await http.get("/eventhub.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_the_policy_allows_nothing_but_the_node_itself(http: httpx2.AsyncClient) -> None:
    header = (await http.get("/")).headers["content-security-policy"]
    policy = dict(rule.split(" ", 1) for rule in header.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8000 wss://127.0.0.1:8000"
    assert "unsafe" not in header


async def test_a_strange_host_does_not_write_the_policy(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/", headers={"Host": "x; script-src *"})
    assert "connect-src 'self';" in answer.headers["content-security-policy"]
    assert "*" not in answer.headers["content-security-policy"]


async def test_a_file_that_the_browser_has_is_not_sent_again(http: httpx2.AsyncClient) -> None:
    tag = (await http.get("/page/app.js")).headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        answer = await http.get("/page/app.js", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    assert (await http.get("/page/app.js", headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/none.js",
        "/page/../__init__.py",
        "/page/..%2f__init__.py",
        "/page/%2e%2e%2f__init__.py",
        "/page/static/app.js",
        "/page//etc/passwd",
        "/page/__init__.py",
    ],
)
async def test_only_known_names_are_served(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_the_page_gets_a_token_with_its_end_and_nobody_keeps_it(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/page/token", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200
    assert answer.json()["token"] == "a-token"
    assert datetime.fromisoformat(answer.json()["expires_at"]) == ENDS
    assert answer.headers["cache-control"] == "no-store"


async def test_without_tokens_the_page_is_told_to_ask(http: httpx2.AsyncClient) -> None:
    async with client(None) as bare:
        answer = await bare.post("/page/token")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
    ],
)
async def test_another_origin_gets_no_token(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/page/token", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("192.168.1.20:8000", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("rebound.example:8000", 403),
        ("localhost.example", 403),
        ("127.0.0.1.example", 403),
        ("[::1].example", 403),
        ("", 403),
    ],
)
async def test_a_name_that_was_pointed_at_the_node_gets_no_token(
    http: httpx2.AsyncClient, host: str, status: int
) -> None:
    assert (await http.post("/page/token", headers={"Host": host})).status_code == status


async def test_a_get_makes_no_token(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/page/token")).status_code in (404, 405)


def test_all_files_together_are_small() -> None:
    assert sum(map(len, STATIC.values())) < 100_000


@pytest.mark.parametrize("name", sorted(STATIC))
def test_no_file_names_an_address_outside(name: str) -> None:
    text = STATIC[name].decode()
    # The one exception names a vocabulary and is never fetched.
    outside = [a for a in re.findall(r"(?:https?|wss?)://[^\s\"'`)]*", text) if a != "http://www.w3.org/2000/svg"]
    assert outside == []
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?//""", text)


def test_no_script_or_style_stands_in_the_html() -> None:
    html = STATIC["index.html"].decode()
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)


def test_no_script_parses_html_or_text_as_code() -> None:
    words = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser")
    found: dict[str, Any] = {name: words.findall(body.decode()) for name, body in STATIC.items()}
    assert not any(found.values()), found

"""The document and its viewer as a browser gets them: from this node alone, and nothing inline."""

import asyncio
import gzip
import hashlib
import re
import shutil
import socket
from collections.abc import AsyncIterator
from importlib import resources

import httpx2
import pytest
import uvicorn
from playwright.async_api import async_playwright, expect
from starlette.applications import Starlette

from eventhub import documents
from eventhub.documents.operations import OPERATIONS
from tests.support.wait import until

STATIC = resources.files("eventhub.documents") / "static"


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that has only these routes."""
    app = Starlette(routes=documents.routes("1.2.3"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://node") as client:
        yield client


async def test_the_document_is_served_and_only_sent_when_it_changed(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == documents.document("1.2.3")
    again = await http.get("/openapi.json", headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    other = await http.get("/openapi.json", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json", "/docs", "/docs/swagger-ui-bundle.js"])
async def test_a_client_without_gzip_gets_the_same_bytes(http: httpx2.AsyncClient, path: str) -> None:
    packed = await http.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await http.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


async def test_the_viewer_loads_everything_from_this_node(http: httpx2.AsyncClient) -> None:
    page = await http.get("/docs")
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    local = [address for address in wanted if not address.startswith("data:")]
    assert all(address.startswith("/") for address in local), local
    for address in local:
        assert (await http.get(address)).status_code == 200, address
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)


async def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(http: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/docs/init.js", "/openapi.json"):
        headers = (await http.get(path)).headers
        rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == "'self'"
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The address of a server with only these routes."""
    app = Starlette(routes=documents.routes("1.2.3"))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve([listening]))
        await until(lambda: server.started, "the server")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


async def test_a_browser_shows_every_operation_and_asks_nobody_else(url: str) -> None:
    path = shutil.which("chromium")
    assert path is not None, "this test needs the browser Chromium: install the package `chromium`"
    complaints: list[str] = []
    asked: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{url}/docs")
        await expect(page.locator(".opblock")).to_have_count(len(OPERATIONS), timeout=30_000)
        await page.locator("#operations-ingest-ingest .opblock-summary-control").click()
        await expect(page.locator("#operations-ingest-ingest .responses-wrapper")).to_be_visible(timeout=30_000)
        await browser.close()
    assert complaints == []
    assert all(address.startswith((url, "data:")) for address in asked), asked


async def test_a_file_that_is_not_of_the_viewer_is_not_served(http: httpx2.AsyncClient) -> None:
    for name in ("vendored.txt", "../viewer.py", "index.html.gz"):
        assert (await http.get(f"/docs/{name}")).status_code == 404


def test_vendored_files_are_the_published_ones() -> None:
    rows = [line.split() for line in (STATIC / "vendored.txt").read_text().splitlines() if not line.startswith("#")]
    assert [name for _, name in rows] == ["swagger-ui-bundle.js", "swagger-ui.css"]
    for digest, name in rows:
        content = gzip.decompress((STATIC / f"{name}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == digest, name
    assert "Apache License" in (STATIC / "LICENSE").read_text()

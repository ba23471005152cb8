"""`/v1/auth/…` over HTTP: what is answered, what while Postgres is down, and that no secret is told anywhere."""

import asyncio
import contextlib
import importlib
import logging
import threading
from collections.abc import AsyncIterator

import httpx2
import jwt
import pytest
import structlog
from starlette.applications import Starlette

from eventhub import accounts, auth, web
from eventhub.accounts.verifier import Verifier
from eventhub.auth import passwords
from eventhub.delivery.doors import Addresses
from eventhub.errors import EventhubError, MalformedError, UnavailableError
from eventhub.server import Listener, bind
from tests.accounts.conftest import PASSWORD, Scene
from tests.support.wait import until


@contextlib.asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[httpx2.AsyncClient]:
    routes = accounts.routes(scene.one.service, Addresses().of)
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    app = Starlette(routes=routes, exception_handlers=web.handlers())
    async with Listener(app, bound) as listening, httpx2.AsyncClient(base_url=listening.url, timeout=20) as http:
        yield http


async def test_login_refresh_and_logout(scene: Scene) -> None:
    async with served(scene) as http:
        answer = await http.post("/v1/auth/login", json={"user": scene.user, "password": PASSWORD})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        given = answer.json()
        assert set(given) == {"access_token", "expires_at", "refresh_token", "refresh_expires_at"}
        # Another service checks the token by the public keys alone.
        keys = (await http.get("/v1/auth/jwks.json")).json()
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(given["access_token"])["kid"]]
        told = jwt.decode(given["access_token"], key, algorithms=["EdDSA"], issuer=auth.ISSUER)
        assert (told["sub"], told["plan"]) == (scene.user, "gold")

        answer = await http.post("/v1/auth/refresh", json={"refresh_token": given["refresh_token"]})
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        token = {"refresh_token": answer.json()["refresh_token"]}
        assert (await http.post("/v1/auth/logout", json=token)).status_code == 204
        answer = await http.post("/v1/auth/refresh", json=token)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_what_is_no_request_is_refused_as_one(scene: Scene) -> None:
    async with served(scene) as http:
        for path in ("login", "refresh", "logout"):
            for body in (b"", b"null", b"[]", b"{}", b'{"user":1,"password":"x"}', b"[" * 5000, b"\xff"):
                answer = await http.post(f"/v1/auth/{path}", content=body)
                assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
            answer = await http.post(f"/v1/auth/{path}", content=b" " * 10_000)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
            assert (await http.get(f"/v1/auth/{path}")).status_code == 405


async def test_while_postgres_is_down_it_says_so_with_a_time(scene: Scene) -> None:
    await while_postgres_is_down(scene)


async def while_postgres_is_down(scene: Scene) -> None:
    given = await scene.login()
    async with served(scene) as http:
        scene.lost = True
        for path, body in (
            ("login", {"user": scene.user, "password": PASSWORD}),
            ("refresh", {"refresh_token": given.refresh_token}),
        ):
            answer = await http.post(f"/v1/auth/{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == web.PROBLEM
        assert (await http.get("/v1/auth/jwks.json")).status_code == 200
        scene.lost = False
        # It was not used up meanwhile.
        answer = await http.post("/v1/auth/refresh", json={"refresh_token": given.refresh_token})
        assert answer.status_code == 200


async def test_mutant_a_service_that_does_not_ask_whether_postgres_is_there(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.one.service, "_unavailable", lambda: None)
    with pytest.raises((AssertionError, KeyError)):
        await while_postgres_is_down(scene)


async def test_a_refresh_in_read_only_mode_uses_nothing_up(scene: Scene) -> None:
    """The node may learn of the mode a moment after the session that it has did."""
    given = await scene.login()
    scene.read_only = True
    for work in (scene.one.service.refresh(given.refresh_token), scene.login()):
        with pytest.raises(UnavailableError):
            await work
    scene.read_only = False
    assert (await scene.one.service.refresh(given.refresh_token)).refresh_token


async def no_secret_is_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Wrong and right values, in every place, and everything that goes out is searched for them."""
    caplog.set_level(logging.DEBUG)
    secret, stolen = "canary-horse-battery", "ehr_canary-token"
    given = await scene.login()
    used = given.refresh_token
    told: list[str] = []
    with structlog.testing.capture_logs() as lines:
        async with served(scene) as http:

            async def send(path: str, **more: object) -> None:
                answer = await http.post(f"/v1/auth/{path}", **more)  # type: ignore[arg-type]
                told.append(f"{answer.text} {answer.headers}")

            await send("login", json={"user": scene.user, "password": secret})
            await send("login", json={"user": secret, "password": secret})
            await send("login", json={"user": scene.user, "password": [secret]})
            await send("login", json={"user": scene.user, "password": PASSWORD, secret: secret})
            await send("login", content=f'{{"user":"x","password":"{secret}'.encode())
            await send("refresh", json={"refresh_token": stolen})
            await send("refresh", json={"refresh_token": {"x": stolen}})
            await send("logout", json={"refresh_token": stolen})
            answer = await http.post("/v1/auth/refresh", json={"refresh_token": used})
            following = answer.json()["refresh_token"]
            scene.pass_by(seconds=11)
            await send("refresh", json={"refresh_token": used})
            await send("refresh", json={"refresh_token": following})
            scene.lost = True
            await send("login", json={"user": scene.user, "password": secret})
    for token in (given.access_token, given.access_token[:-9] + "canarytok"):
        with pytest.raises(EventhubError) as refused:
            scene.one.access.check(token)
        told.append(str(refused.value.detail))
    everything = "\n".join([*told, repr(lines), caplog.text])
    assert "refused" in everything and "wrong" in everything and "used before" in everything
    for one in (secret, stolen, PASSWORD, used, following, given.access_token, "canary"):
        assert one not in everything, f"{one} was told"


async def test_no_secret_is_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await no_secret_is_told(scene, caplog)


async def test_mutant_an_error_that_quotes_the_body(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes_of = importlib.import_module("eventhub.accounts.routes")
    original = routes_of._body

    async def sometimes(request: object, kind: object) -> object:
        try:
            return await original(request, kind)
        except MalformedError:
            raise MalformedError(f"this is not understood: {await request.body()}") from None  # type: ignore[attr-defined]

    monkeypatch.setattr(routes_of, "_body", sometimes)
    with pytest.raises((AssertionError, RuntimeError)):
        await no_secret_is_told(scene, caplog)


async def test_who_waits_for_a_hash_is_bounded() -> None:
    verifier, go = Verifier(threads=1, queue=3), threading.Event()
    waiting = [asyncio.create_task(verifier._run(go.wait)) for _ in range(3)]
    await until(lambda: verifier._count == 3, "all of them to wait", 10)
    with pytest.raises(UnavailableError) as refused:
        await verifier.hash(PASSWORD)
    assert refused.value.retry_after_s == 1
    go.set()
    await asyncio.gather(*waiting)
    assert (await verifier.hash(PASSWORD)).startswith("$argon2id$")
    await verifier.close()


async def test_a_hash_of_older_parameters_is_renewed_at_the_next_login(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await scene.rows("users"))[0][1]
    await scene.login()
    assert (await scene.rows("users"))[0][1] == before
    monkeypatch.setattr(passwords, "TIME_COST", 2)
    scene.one.verifier._passwords = None
    await scene.login()
    after = (await scene.rows("users"))[0][1]
    assert after != before and ",t=2," in after
    await scene.login()
    assert (await scene.rows("users"))[0][1] == after

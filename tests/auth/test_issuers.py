"""Issuers outside, with real key sets over loopback: rotation, outage, made-up key ids, wrong audiences."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventhub import auth
from eventhub.auth import issuers
from eventhub.config import Issuer, load
from eventhub.errors import ConfigError, UnauthorizedError
from eventhub.server import Listener, bind
from eventhub.tasks import end
from tests.auth.scene import now, signed, tokens_of
from tests.support.wait import until

RSA, EC, ED = new_rsa(65537, 2048), new_ec(SECP256R1()), Ed25519PrivateKey.generate()
NAME, AUDIENCE = "https://id.example.com", "eventhub-watchers"


def public(kid: str, key: Any, **more: Any) -> dict[str, Any]:
    """The public key as a JWK."""
    by_kind: Any = {
        "RSA": jwt.algorithms.RSAAlgorithm,
        "EC": jwt.algorithms.ECAlgorithm,
        "Ed": jwt.algorithms.OKPAlgorithm,
    }
    kind = next(name for name in by_kind if name in type(key).__name__)
    return {**by_kind[kind].to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


class Server:
    """An issuer's key set; counts who asks."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [public("r", RSA), public("e", EC), public("d", ED)]
        self.asked, self.status = 0, 200
        self.url = ""

    async def answer(self, _: Request) -> Response:
        self.asked += 1
        return JSONResponse({"keys": self.keys}, self.status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    async with Listener(Starlette(routes=[Route("/jwks", one.answer)]), bound) as listening:
        one.url = f"{listening.url}/jwks"
        yield one


def access(server: Server, folder: Path, **more: Any) -> tuple[auth.Access, auth.Issuers, auth.Accounts]:
    given = {"issuer": NAME, "jwks_url": server.url, "audience": AUDIENCE, "plan_claim": "tier", **more}
    known, accounts = auth.Issuers([Issuer.model_validate(given)], folder), auth.Accounts()
    return auth.Access(tokens_of(Ed25519PrivateKey.generate()), accounts, known), known, accounts


@contextlib.asynccontextmanager
async def followed(known: auth.Issuers, *, every_s: float = 300, least_s: float = 0.05) -> AsyncIterator[None]:
    task = asyncio.create_task(known.follow(every_s=every_s, least_s=least_s))
    try:
        yield
    finally:
        await end(task)


def token(key: Any = RSA, algorithm: str = "RS256", kid: str = "r", **more: Any) -> str:
    return signed(key, algorithm, {"kid": kid}, **{"iss": NAME, "aud": AUDIENCE, "sid": None, "tier": "gold", **more})


def taken(check: auth.Access, one: str) -> bool:
    try:
        check.check(one)
    except UnauthorizedError:
        return False
    return True


async def test_their_tokens_name_users_of_their_own(server: Server, tmp_path: Path) -> None:
    checks, known, accounts = access(server, tmp_path)
    async with followed(known):
        await until(lambda: taken(checks, token()), "the keys", 10)
    for key, algorithm, kid in ((RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d")):
        named = checks.check(token(key, algorithm, kid))
        # A user of ours with the same name is another one.
        assert (named.user, named.plan, named.ours) == (f"{NAME}|ann", "gold", False)
    accounts.fold(*auth.record_plan("ann", "silver"))
    accounts.fold(*auth.record_plan(f"{NAME}|ann", "bronze"))
    assert checks.check(token()).plan == "bronze"
    accounts.fold(*auth.record_disabled("ann", True))
    assert taken(checks, token())
    accounts.fold(*auth.record_disabled(f"{NAME}|ann", True))
    assert not taken(checks, token())


def wrong_tokens() -> dict[str, str]:
    at = now().timestamp()
    return {
        "another audience": token(aud="elsewhere"),
        "other audiences": token(aud=["a", "b"]),
        "no audience": token(aud=None),
        "another issuer": token(iss="https://evil.example.com"),
        "issuer of ours": token(iss="eventhub", sid="s"),
        "another's key": token(new_rsa(65537, 2048)),
        "an algorithm of another key": token(RSA, "RS256", "e"),
        "another algorithm of the key": token(RSA, "RS512"),
        "an end in ten years": token(exp=int(at) + 315_360_000),
        "not yet": token(iat=at + 600, exp=int(at) + 900),
        "not before later": token(nbf=at + 600),
        "ended": token(iat=at - 900, exp=int(at) - 60),
        "no subject": token(sub=None),
        "a weak key": token(WEAK, "RS256", "w"),
        "a secret for all": signed("x" * 40, "HS256", {"kid": "h"}, iss=NAME, aud=AUDIENCE),
    }


WEAK = new_rsa(65537, 1024)


async def test_what_is_wrong_with_them_is_refused(server: Server, tmp_path: Path) -> None:
    secret = {"kty": "oct", "kid": "h", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"}
    server.keys += [public("w", WEAK), secret, {"kty": "unheard-of", "kid": "u"}, {}]
    checks, known, _ = access(server, tmp_path)
    async with followed(known):
        await until(lambda: taken(checks, token()), "the keys", 10)
    assert {name for name, one in wrong_tokens().items() if taken(checks, one)} == set()
    assert taken(checks, token(aud=["x", AUDIENCE]))


async def test_mutant_an_issuer_whose_claims_are_not_judged(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuers.Known, "_judge", lambda *_: None)
    with pytest.raises(AssertionError, match="another audience"):
        await test_what_is_wrong_with_them_is_refused(server, tmp_path)


async def test_mutant_every_key_is_usable(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "LEAST_RSA_BITS", 512)
    with pytest.raises(AssertionError, match="a weak key"):
        await test_what_is_wrong_with_them_is_refused(server, tmp_path)


async def test_a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_goes(server: Server, tmp_path: Path) -> None:
    checks, known, _ = access(server, tmp_path)
    fresh = new_rsa(65537, 2048)
    async with followed(known):
        await until(lambda: taken(checks, token()), "the keys", 10)
        server.keys = [public("r2", fresh)]
        await until(lambda: taken(checks, token(fresh, kid="r2")), "the new key", 10)
    assert not taken(checks, token())


async def test_made_up_key_ids_cost_the_issuer_no_more_than_a_question_so_often(server: Server, tmp_path: Path) -> None:
    checks, known, _ = access(server, tmp_path)
    loop = asyncio.get_running_loop()
    async with followed(known, least_s=0.5):
        await until(lambda: taken(checks, token()), "the keys", 10)
        begun = loop.time()
        ids = iter(range(1_000_000))

        def made_up() -> bool:
            for _ in range(20):
                assert not taken(checks, token(kid=f"made-up-{next(ids)}"))
            return server.asked >= 4

        await until(made_up, "some more questions", 10)
        assert next(ids) > 10 * server.asked
        assert loop.time() - begun > 2 * 0.5 * 0.9, "three questions take two pauses at the least"


async def test_while_the_issuer_is_down_its_keys_hold_and_a_restart_knows_them(server: Server, tmp_path: Path) -> None:
    checks, known, _ = access(server, tmp_path)
    async with followed(known, every_s=0.1):
        await until(lambda: taken(checks, token()), "the keys", 10)
        server.status, asked = 500, server.asked
        await until(lambda: server.asked > asked + 1, "failing fetches", 10)
        assert taken(checks, token())
    restarted, _, _ = access(server, tmp_path)
    assert taken(restarted, token())
    assert not taken(access(server, tmp_path / "elsewhere")[0], token())


async def test_mutant_a_failure_that_forgets_the_keys(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = issuers._fetched

    async def forgetful(http: Any, url: str) -> bytes:
        try:
            return await fetched(http, url)
        except ValueError:
            return b'{"keys":[]}'

    monkeypatch.setattr(issuers, "_fetched", forgetful)
    with pytest.raises(AssertionError):
        await test_while_the_issuer_is_down_its_keys_hold_and_a_restart_knows_them(server, tmp_path)


async def test_a_token_of_theirs_that_has_ended_is_never_honoured(server: Server, tmp_path: Path) -> None:
    given = Issuer(issuer=NAME, jwks_url=server.url, audience=AUDIENCE)
    known = auth.Issuers([given], tmp_path)
    at = now()
    lost = auth.Access(
        tokens_of(Ed25519PrivateKey.generate()),
        auth.Accounts(),
        known,
        refresh_is_impossible=lambda: True,
        now=lambda: at,
    )
    one = token()
    async with followed(known):
        await until(lambda: taken(lost, one), "the keys", 10)
    at += timedelta(minutes=16)
    assert not taken(lost, one)


def test_settings_of_issuers_are_checked_and_production_wants_https() -> None:
    good = '[{"issuer":"https://id","jwks_url":"http://id/jwks","audience":"x","algorithms":["ES256"]}]'

    def settings(text: str, **more: str) -> Any:
        return load(config_file=None, environ={"EVENTHUB_AUTH__ISSUERS": text, **more}, flags={}).auth.issuers

    assert settings(good)[0].algorithms == ("ES256",)
    bad = {
        good.replace("https://id", "eventhub"): "eventhub",
        good.replace("https://id", "a|b"): "|",
        good.replace("ES256", "HS256"): "es256",
        good.replace("http://id/", "http://ann:secret@id/"): "pattern",
        good.replace("audience", "audiences"): "auth.issuers",
        "{": "auth.issuers",
    }
    for text, word in bad.items():
        with pytest.raises(ConfigError) as refused:
            settings(text)
        assert word in refused.value.detail and "secret" not in refused.value.detail
    production = {
        "EVENTHUB_PROFILE": "production",
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": "k:1",
        "EVENTHUB_POSTGRES__DSN": "postgresql://p/p",
        "EVENTHUB_AUTH__SIGNING_KEY": "k",
    }
    with pytest.raises(ConfigError, match="https"):
        settings(good, **production)
    assert settings(good.replace("http://", "https://"), **production)

"""Measures what the check of a request costs: `python -m tests.access.cost`.

Only the check runs, around an app that answers at once. So the figures are what access adds to a request.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.gate import Gate
from service.access.keys import Key, as_text, hash_of, new_key
from service.metrics import Metrics
from service.rest.middleware.access import AccessCheck
from service.settings import AccessSettings, Settings
from tests.load.machine import describe_machine

ISSUER, AUDIENCE = "https://login.example", "gateway"
ROUNDS, REQUESTS = 7, 4000
FREE, LIMITED = new_key(), new_key()
PRIVATE = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser("python -m tests.access.cost", description=__doc__).parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as scratch:
        gate = gate_in(Path(scratch))
    check = AccessCheck(answer, gate, Metrics(CollectorRegistry()))
    cases: dict[str, tuple[ASGIApp, str | None]] = {
        "without the check": (answer, None),
        "a key": (check, FREE),
        "a key with rate and quota": (check, LIMITED),
        "no key: 401": (check, None),
        "an unknown key: 401": (check, new_key()),
        **{f"a token, {name}": (check, token(name)) for name in PRIVATE},
    }
    took: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):  # in turns, so that each meets the same load of the machine
        for name, (app, key) in cases.items():
            took[name].append(asyncio.run(cpu_us(app, key)))
    print(describe_machine(("starlette", "pyjwt", "cryptography")))
    print(f"{ROUNDS} rounds of {REQUESTS} requests in turns; processor time of a request, in µs\n")
    for name, each in took.items():
        print(f"{name:28s} median {sorted(each)[ROUNDS // 2]:6.1f}   {min(each):6.1f} to {max(each):6.1f}")
    return 0


def gate_in(folder: Path) -> Gate:
    """Return a gate for a hundred keys and the tokens of one issuer."""
    keys = [Key(name=f"other-{i}", sha256=hash_of(new_key().encode()), scopes=("detect",)) for i in range(98)]
    keys.append(Key(name="free", sha256=hash_of(FREE.encode()), scopes=("detect",)))
    keys.append(keys[-1].model_copy(update={"name": "limited", "sha256": hash_of(LIMITED.encode())}))
    keys[-1] = keys[-1].model_copy(update={"rate": 10_000, "quota": 1_000_000_000})
    (folder / "keys.json").write_text(as_text(keys))
    public = [
        {**jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": name}
        for name, key in PRIVATE.items()
    ]
    (folder / "jwks.json").write_text(json.dumps({"keys": public}))
    access = AccessSettings(
        keys_file=folder / "keys.json",
        jwks_file=folder / "jwks.json",
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )
    return Gate(Settings(access=access), Metrics(CollectorRegistry()))


def token(algorithm: str) -> str:
    """Return a token that is valid for a while."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 3600, "sub": "line-3", "scope": "detect"}
    return jwt.encode(claims, PRIVATE[algorithm], algorithm, {"kid": algorithm})


async def cpu_us(app: ASGIApp, key: str | None) -> float:
    """Return the mean processor time of a request with a key, in microseconds."""
    scopes = [scope_with(key) for _ in range(REQUESTS)]
    began = time.process_time()
    for scope in scopes:
        await app(scope, receive, send)
    return (time.process_time() - began) / REQUESTS * 1e6


def scope_with(key: str | None) -> Scope:
    """Return a request as a server would hand it to the app."""
    headers = [(b"host", b"gateway:8000"), (b"user-agent", b"python-httpx/0.28.1"), (b"accept", b"*/*")]
    headers += [(b"content-type", b"image/jpeg"), (b"content-length", b"200000")]
    if key is not None:
        headers.append((b"authorization", b"Bearer " + key.encode()))
    state = {"request_id": "01M8J2PGAF7WB77VKJM72Y3X4G"}
    scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "state": state}
    return {**scope, "headers": headers, "client": ("127.0.0.1", 50000)}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def receive() -> Message:
    """Return an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    """Drop a part of an answer."""


if __name__ == "__main__":
    sys.exit(main())

"""Tokens are checked with the public keys of their issuer, and with nothing else."""

import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.access.tokens import Tokens
from service.access_errors import Unauthorized
from service.errors import AccessFileInvalid

ISSUER, AUDIENCE = "https://login.example", "gateway"
RSA = rsa.generate_private_key(65537, 2048)
PRIVATE = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(algorithm, private=None, **more):
    key = (private or PRIVATE[algorithm]).public_key()
    described = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return {**described, "kid": algorithm, "alg": algorithm, "use": "sig", **more}


def write(path, *keys):
    path.write_text(json.dumps({"keys": keys}))
    return path


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("jwks") / "jwks.json", *map(public, PRIVATE))
    return Tokens(path, ISSUER, AUDIENCE)


def claims(**more):
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": time.time() + 3600,
        "sub": "line-3",
        "scope": "detect",
    } | more
    return {name: value for name, value in said.items() if value is not None}


def signed(payload=None, algorithm="ES256", key=None, **headers):
    key = key or PRIVATE[algorithm]
    return jwt.encode(payload or claims(), key, algorithm, {"kid": algorithm} | headers).encode()


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_of_the_issuer_is_valid(tokens, algorithm):
    token = tokens.check(signed(algorithm=algorithm))
    assert (token.subject, token.scopes) == ("line-3", {"detect"})


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("detect metrics", {"detect", "metrics"}),
        ("openid admin detection", {"admin"}),
        ("", set()),
        (None, set()),
        (["admin"], set()),
        (7, set()),
    ],
)
def test_a_token_is_for_the_scopes_that_it_names(tokens, scope, scopes):
    assert tokens.check(signed(claims(scope=scope))).scopes == scopes


@pytest.mark.parametrize(
    "payload",
    [
        claims(iss="https://other.example"), claims(iss=None), claims(iss=[ISSUER]), claims(iss=ISSUER + "/"),
        claims(aud="other"), claims(aud=None), claims(aud=["other"]), claims(aud={"gateway": 1}),
        claims(exp=None), claims(exp="tomorrow"), claims(exp=[]), claims(exp=float("inf")),
        claims(nbf=time.time() + 3600), claims(nbf="soon"),
    ],
)  # fmt: skip
def test_other_claims_are_refused(tokens, payload):
    key = PRIVATE["ES256"]
    body = b".".join((part({"alg": "ES256", "kid": "ES256"}), part(payload)))
    signature = jwt.get_algorithm_by_name("ES256").sign(body, key)
    token = body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    with pytest.raises(Unauthorized) as refused:
        tokens.check(token)
    assert refused.value.why == "invalid-token"


def test_clocks_may_differ_by_ten_seconds(tokens):
    assert tokens.check(signed(claims(exp=time.time() - 8)))
    with pytest.raises(Unauthorized) as refused:
        tokens.check(signed(claims(exp=time.time() - 11)))
    assert refused.value.why == "expired"
    assert tokens.check(signed(claims(nbf=time.time() + 8, iat=time.time() + 8)))
    with pytest.raises(Unauthorized):
        tokens.check(signed(claims(nbf=time.time() + 12)))


def test_only_signatures_of_the_named_key_count(tokens):
    other = ec.generate_private_key(ec.SECP256R1())
    valid = signed()
    head, body, signature = valid.split(b".")
    forged = [
        signed(key=other),
        signed(algorithm="RS256", kid="PS256"),
        signed(algorithm="ES256", kid="EdDSA"),
        signed(kid="unknown"),
        jwt.encode(claims(), PRIVATE["ES256"], "ES256").encode(),
        b".".join((head, body, b"")),
        b".".join((part({"alg": "none", "kid": "ES256"}), body, b"")),
        b".".join((part({"alg": "none", "kid": "ES256"}), body, signature)),
        b".".join((head, part(claims(scope="admin")), signature)),
        b".".join((part({"alg": "ES256", "kid": "ES256", "crit": ["x"]}), body, signature)),
        b".".join((part(["ES256"]), body, signature)),
        b"..",
        b"a.b.c",
        b"\xff.\xff.\xff",
    ]
    assert tokens.check(valid)
    for token in forged:
        with pytest.raises(Unauthorized) as refused:
            tokens.check(token)
        assert refused.value.why == "invalid-token"


def test_the_public_key_is_no_shared_secret(tokens):
    pem = jwt.get_algorithm_by_name("RS256").to_jwk(RSA.public_key())
    head, body = part({"alg": "HS256", "kid": "RS256"}), part(claims())
    signature = jwt.get_algorithm_by_name("HS256").sign(head + b"." + body, pem.encode())
    token = b".".join((head, body, base64.urlsafe_b64encode(signature).rstrip(b"=")))
    with pytest.raises(Unauthorized):
        tokens.check(token)


def test_extensions_that_must_be_understood_are_refused(tokens):
    with pytest.raises(Unauthorized):
        tokens.check(signed(crit=["exp"], exp=1))


def test_long_tokens_are_refused_before_they_are_read(tokens):
    exp = round(time.time()) + 3600  # whole, as the length of a token would otherwise vary
    made = (
        signed(claims(exp=exp, more="x" * long), more="x" * short)
        for long in range(2600, 3000)
        for short in range(3)
    )
    token = next(token for token in made if len(token) == 4096)
    assert tokens.check(token)
    with pytest.raises(Unauthorized, match="4,096"):
        tokens.check(token + b"x")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], "1 to 50 keys"),
        ([public("ES256", kid=f"{number}") for number in range(51)], "1 to 50 keys"),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}], "secret key"),
        ([jwt.get_algorithm_by_name("ES256").to_jwk(PRIVATE["ES256"], as_dict=True)], "secret key"),
        ([public("RS256", rsa.generate_private_key(65537, 1024))], "below"),
        ([{"kty": "EC", "kid": "a"}], "no JWKS file"),
        ([{"kid": "a"}], "no JWKS file"),
        (["a"], "no JWKS file"),
        ([public("ES256", alg="none")], "no JWKS file|not accepted"),
        ([public("ES256", alg="HS256")], "no JWKS file|not accepted"),
    ],
)
def test_a_file_with_other_keys_is_refused(tmp_path, keys, words):
    path = write(tmp_path / "jwks.json", *keys)
    with pytest.raises(AccessFileInvalid, match=words) as refused:
        Tokens(path, ISSUER, AUDIENCE)
    for key in keys:
        for secret in ("k", "d"):
            if isinstance(key, dict) and secret in key:
                assert key[secret] not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"keys": 1}', b"\xff", b'{"keys": {"a": 1}}']
)
def test_a_file_with_something_else_is_refused(tmp_path, content):
    (tmp_path / "jwks.json").write_bytes(content)
    with pytest.raises(AccessFileInvalid):
        Tokens(tmp_path / "jwks.json", ISSUER, AUDIENCE)


def test_keys_for_encryption_are_no_keys_for_signatures(tmp_path):
    path = write(tmp_path / "jwks.json", public("ES256"), public("ES512", use="enc"))
    tokens = Tokens(path, ISSUER, AUDIENCE)
    assert tokens.check(signed())
    with pytest.raises(Unauthorized):
        tokens.check(signed(algorithm="ES512"))

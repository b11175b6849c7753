"""Check JSON Web Tokens with the public keys of their issuer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from service.access.keys import read_file
from service.access.table import SCOPES, Scope
from service.access_errors import Unauthorized
from service.errors import AccessFileInvalid

# Only those with a private and a public key: with a shared secret, whoever can check tokens can make them.
_ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_LONGEST = 4096  # bytes of a token; longer ones are refused before anything is parsed
_MOST_KEYS = 50
_LEEWAY_S = 10  # allowed difference between the clocks of issuer and service
_LONGEST_SUBJECT = 100


@dataclass(frozen=True)
class Token:
    """What a valid token says about its bearer."""

    subject: str
    scopes: frozenset[Scope]


class Tokens:
    """The check of tokens from one issuer, for one audience."""

    def __init__(self, path: Path, issuer: str, audience: str) -> None:
        """Read the issuer's public keys (JWKS) from a file.

        Raises:
            AccessFileInvalid: the file is missing, or does not hold public keys.
        """
        self._keys = _read_keys(path)
        self._issuer, self._audience = issuer, audience

    def check(self, token: bytes) -> Token:
        """Return what a token says.

        Raises:
            Unauthorized: the token is not valid; the message says why.
        """
        if len(token) > _LONGEST:
            raise Unauthorized(f"the token has more than {_LONGEST:,} bytes", "invalid-token")
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise Unauthorized("the token names no key (kid) that this service knows", "invalid-token")
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired; get a new one", "expired") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RuntimeError):
            # The library's sentences may quote the token, so they are neither sent nor logged.
            raise Unauthorized(
                "the token is not valid: wrong signature, issuer or audience", "invalid-token"
            ) from None
        return Token(_subject(claims), _scopes(claims))


def _read_keys(path: Path) -> Mapping[str, jwt.PyJWK]:
    wrong = f"{path} cannot be used:"
    try:
        listed = json.loads(read_file(path))["keys"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= _MOST_KEYS:
            raise AccessFileInvalid(f"{wrong} it must list 1 to {_MOST_KEYS} keys")
        keys = {str(one.get("kid")): jwt.PyJWK(one) for one in listed if one.get("use") != "enc"}
        secret = any(one.get("kty") == "oct" or "d" in one for one in listed)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        # Without the library's sentence, which may quote the key.
        raise AccessFileInvalid(f"{wrong} it is no JWKS file, or has a key of an unknown kind") from None
    if secret:
        raise AccessFileInvalid(f"{wrong} it holds a secret key; only public keys belong into it")
    for kid, key in keys.items():
        if key.algorithm_name not in _ALGORITHMS:
            raise AccessFileInvalid(f"{wrong} key {kid} is for {key.algorithm_name}, which is not accepted")
        if too_short := key.Algorithm.check_key_length(key.key):
            raise AccessFileInvalid(f"{wrong} key {kid}: {too_short}")
    return keys


def _subject(claims: Mapping[str, Any]) -> str:
    return str(claims.get("sub", ""))[:_LONGEST_SUBJECT]


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    said = claims.get("scope", "")
    words = said.split() if isinstance(said, str) else ()
    return frozenset(scope for scope in SCOPES if scope in words)

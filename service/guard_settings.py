"""Define the settings for access to the service, for encryption, and for images from other servers."""

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode


class AccessSettings(BaseModel, extra="forbid", frozen=True):
    """The files that say who may use the service; without them, everybody may."""

    keys_file: Annotated[
        Path | None,
        Field(description="File with the hashes of API keys, which `python -m service keys new` writes."),
    ] = None
    jwks_file: Annotated[
        Path | None, Field(description="File with the public keys (JWKS) of the issuer of JSON Web Tokens.")
    ] = None
    jwt_issuer: Annotated[
        str | None, Field(min_length=1, description="Issuer (iss) that a token must have.")
    ] = None
    jwt_audience: Annotated[
        str | None, Field(min_length=1, description="Audience (aud) that a token must have.")
    ] = None
    audit_file: Annotated[
        Path | None,
        Field(
            description="File to which refusals and administrators' actions are also written, as JSON lines."
        ),
    ] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len({self.jwks_file is None, self.jwt_issuer is None, self.jwt_audience is None}) > 1:
            raise ValueError("jwks_file, jwt_issuer and jwt_audience belong together; set all or none")
        if self.audit_file is not None and not self.is_on:
            raise ValueError("audit_file is set, but neither keys_file nor jwks_file, so nothing is refused")
        return self

    @property
    def is_on(self) -> bool:
        """Return whether callers need keys or tokens."""
        return self.keys_file is not None or self.jwks_file is not None


class TlsSettings(BaseModel, extra="forbid", frozen=True):
    """The certificate files for encrypted connections; without them, the service uses plain HTTP."""

    cert: Annotated[
        Path | None,
        Field(description="PEM file with the certificate of this service, then those of its issuers."),
    ] = None
    key: Annotated[
        Path | None, Field(description="PEM file with the private key of the certificate, not encrypted.")
    ] = None
    client_ca: Annotated[
        Path | None,
        Field(description="PEM file with CA certificates; callers then need a certificate that one signed."),
    ] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; set both or neither")
        if self.client_ca is not None and self.cert is None:
            raise ValueError("client_ca is set, but cert is not; without TLS, no caller shows a certificate")
        return self


_FETCH_HOST = re.compile(
    r"(?P<host>\[[0-9a-f:.]+\]|(\*\.(?=[^.]+\.[^.]))?[a-z0-9_-]+(\.[a-z0-9_-]+)*)\.?(:(?P<port>[0-9]{1,5}))?"
)
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")  # as the last part of a host, it makes an address of it


def _fetch_host(text: str) -> str:
    """Return a host from which images may be fetched as host:port, in lower case."""
    found = _FETCH_HOST.fullmatch(text.lower())
    port = int(found["port"] or 443) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(
            "write images.example.org, images.example.org:8443 or *.example.org, in ASCII and without https://"
        )
    host, last = found["host"], found["host"].rpartition(".")[2]
    if host.startswith("["):
        host = f"[{IPv6Address(host[1:-1])}]"
    elif _NUMBER.fullmatch(last):
        host = str(IPv4Address(host))
    return f"{host}:{port}"


def split_list(value: Any) -> Any:
    """Return the parts of a text that is separated by commas; return any other value unchanged."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",")) if value.strip() else ()


class FetchSettings(BaseModel, extra="forbid", frozen=True):
    """The hosts from which images may be fetched by URL, and the limits; without hosts, fetching is off."""

    hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_fetch_host)], ...],
        NoDecode,
        BeforeValidator(split_list),
        Field(
            description="Hosts from which images may be fetched by URL, as images.example.org, host:port or"
            " *.example.org; separated by commas. Off if unset."
        ),
    ] = ()
    timeout_s: Annotated[
        float, Field(gt=0, le=600, description="Seconds to fetch one image, from the lookup to the end.")
    ] = 5.0
    max_bytes: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="Most bytes of a request's images; if unset, as SPARSIGHT_MAX_BODY_BYTES."),
    ] = None
    max_inflight: Annotated[
        int, Field(ge=1, le=1000, description="Images that are fetched at once; further images wait.")
    ] = 16
    ca: Annotated[
        Path | None,
        Field(description="File with CA certificates to trust besides the system's."),
    ] = None

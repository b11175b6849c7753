"""Load the certificate files of the service, check that they work, and take over renewed files."""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from service.errors import SettingsInvalid
from service.guard_settings import TlsSettings
from service.metrics import Metrics
from service.settings import ENV_PREFIX

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_INVALID_NOW = {  # the codes X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL
    10: "has expired",
    9: "is not valid yet; is the clock of this machine right?",
}

_Seen = tuple[tuple[int, ...], ...]
"""Inode, size and times of change of each certificate file."""


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, loaded into SSL contexts for connections."""

    of_callers: ssl.SSLContext  # for the main port; asks for a client certificate, if client_ca is set
    of_operator: ssl.SSLContext  # for the admin port; asks for none, since probes have none
    expires_s: float  # time at which the certificate expires, in seconds since 1970


def load(files: TlsSettings) -> Pair:
    """Load the certificate and key in `files`, check them with a test handshake, and return the pair.

    Raises:
        SettingsInvalid: a file is missing, broken or expired, or the key is encrypted or belongs to another
            certificate.
    """
    of_operator = _context(files)
    expires_s = _prove(files, of_operator)
    of_callers = _context(files)
    if files.client_ca is not None:
        _read("CLIENT_CA", files.client_ca)
        try:
            of_callers.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise _fault("CLIENT_CA", files.client_ca, "is no PEM file with a certificate") from error
        of_callers.verify_mode = ssl.CERT_REQUIRED
    return Pair(of_callers, of_operator, expires_s)


class Certificates:
    """The current pair of certificate and key, which `follow` replaces when the files have changed."""

    def __init__(self, files: TlsSettings, metrics: Metrics) -> None:
        """Load the certificate and its key.

        Raises:
            SettingsInvalid: for the same reasons as in `load`.
        """
        self._files = files
        self._metrics = metrics
        self._reading = asyncio.Lock()  # one reading at a time, so that the newest files win
        self._seen = _look(files)
        self.pair = load(files)
        metrics.set_certificate_expiry(self.pair.expires_s)

    async def follow(self) -> None:
        """Take over renewed files, until this task is cancelled.

        A certificate and its key are written one after the other. So changed files are read only after two
        checks in a row have found them in the same state.
        """
        before = self._seen
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            seen = _look(self._files)
            if seen == before != self._seen:
                try:
                    await self.renew()
                except Exception:
                    log.exception("certificate_watch_failed")
            before = seen

    async def renew(self) -> None:
        """Read the files and use their pair; if they cannot be used, log why, and keep the current pair."""
        async with self._reading:
            seen = _look(self._files)
            try:
                pair = await asyncio.to_thread(load, self._files)
            except (SettingsInvalid, OSError) as error:  # OSError: a file was removed in the midst of it
                log.error("certificate_refused", extra={"why": str(error)})
            else:
                self.pair = pair
                self._metrics.set_certificate_expiry(pair.expires_s)
                log.info("certificate_in_force", extra={"expires_s": int(pair.expires_s)})
            self._seen = seen


def _context(files: TlsSettings) -> ssl.SSLContext:
    assert files.cert is not None
    assert files.key is not None
    certificate, key = _read("CERT", files.cert), _read("KEY", files.key)
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        raise _fault("CERT", files.cert, "is no PEM file with a certificate")
    if b"PRIVATE KEY-----" not in key:
        raise _fault("KEY", files.key, "is no PEM file with a private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could ask for it again and again
    context.set_alpn_protocols(["http/1.1"])

    def refuse() -> NoReturn:
        raise _fault(
            "KEY", files.key, "is encrypted; write it without a passphrase (openssl pkey -in … -out …)"
        )

    try:
        context.load_cert_chain(files.cert, files.key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _fault("KEY", files.key, f"is not the key of the certificate in {files.cert}") from error
        raise _fault("CERT", files.cert, f"cannot be used with its key: {error}") from error
    return context


def _prove(files: TlsSettings, context: ssl.SSLContext) -> float:
    """Do a test handshake with `context`; return when its certificate expires."""
    trusts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusts.check_hostname = False
    trusts.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # trust it without its issuer
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusts.load_verify_locations(files.cert)
        client = trusts.wrap_bio(to_client, to_server)
        waiting = [client, context.wrap_bio(to_server, to_client, server_side=True)]
        while waiting:
            side = waiting.pop(0)
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
    except ssl.SSLCertVerificationError as error:
        why = _INVALID_NOW.get(error.verify_code, f"cannot be used: {error.verify_message}")
        raise _fault("CERT", files.cert, why) from error
    except ssl.SSLError as error:
        raise _fault("CERT", files.cert, f"cannot be used: {error}") from error
    certificate = client.getpeercert()
    assert certificate
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _fault(name, path, f"cannot be read: {error.strerror}") from error


def _fault(name: str, path: Path | None, what: str) -> SettingsInvalid:
    return SettingsInvalid(f"{ENV_PREFIX}TLS__{name}: {path} {what}")


def _look(files: TlsSettings) -> _Seen:
    found = []
    for path in (files.cert, files.key, files.client_ca):
        try:
            facts = path.stat() if path else None
        except OSError:
            facts = None
        # The time of change (ctime) too: nobody can set it back, and it tells of permissions that were given.
        found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns) if facts else ())
    return tuple(found)

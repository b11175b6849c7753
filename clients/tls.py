"""Hold the certificate files for encrypted connections, and load them for Python's ssl module."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from .errors import BadParameter


@dataclass(frozen=True)
class Tls:
    """The certificate files for a connection, in PEM format.

    Args:
        ca_file: certificate authorities to trust; None to trust those of the system or the library.
        cert_file: certificate that the client presents if the server asks for one.
        key_file: private key of cert_file.

    Raises:
        BadParameter: a file does not exist, or only one of cert_file and key_file is given.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise BadParameter("tls", "cert_file and key_file belong together; give both or neither")
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise BadParameter("tls", f"{name}: there is no file {path}")

    def context(self) -> ssl.SSLContext:
        """Return an SSL context for HTTP clients, with these certificates loaded.

        Raises:
            BadParameter: a file does not contain a valid certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except ssl.SSLError as error:
            raise BadParameter("tls", f"the tls files cannot be used: {error}") from error
        return context

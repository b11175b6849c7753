"""Define all headers that tell browsers what they may do with an answer."""

from service.rest.middleware.refusal import RawHeaders
from service.settings import Settings

# Only one day, because browsers use https for every port of the host: a mistake must not last for months.
_HSTS = (b"strict-transport-security", b"max-age=86400")
_NO_STORE = (b"cache-control", b"no-store")
_NOTHING_LOADS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class SecurityHeaders:
    """The security headers of answers; an answer's own header replaces a header of the same name."""

    def __init__(self, settings: Settings) -> None:
        """Choose the headers that fit the settings."""
        # Pages of other origins fetch with CORS, which this header leaves alone. It is about images and
        # scripts that they would embed: with cors_origins, other pages may do this, too.
        embedded_by = b"cross-origin" if settings.cors_origins else b"same-origin"
        self.always: RawHeaders = [
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", embedded_by),
        ]
        if settings.tls.cert is not None:
            self.always.append(_HSTS)
        self.of_problems: RawHeaders = [
            *self.always,
            _NO_STORE,
            _NOTHING_LOADS,
            (b"referrer-policy", b"no-referrer"),
        ]

    def besides(self, own: RawHeaders) -> RawHeaders:
        """Return the security headers to add to an answer that already has the headers `own`."""
        names = {name.lower() for name, _ in own}
        return [header for header in self.of_problems if header[0] not in names]

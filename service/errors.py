"""Everything that can go wrong while serving, with its facts. Knows nothing of HTTP."""

import re


class ServiceError(Exception):
    """A failure that has a sentence for the person who can do something about it."""


def slug_of(error: type[ServiceError]) -> str:
    """Return the name of a failure as problems and metrics use it: ImageTooLarge is image-too-large."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


class SettingsInvalid(ServiceError):
    """A setting has a value that cannot be used."""


# ---- the artifact on disk -------------------------------------------------------------------


class ArtifactError(ServiceError):
    """A model folder that cannot be served."""


class ArtifactMissing(ArtifactError):
    """There is no model where one was expected."""


class ArtifactBroken(ArtifactError):
    """A model folder is incomplete, altered, or breaks the manifest's contract."""


class ArtifactConflict(ArtifactError):
    """Two places hold the same version of a model, and it is not the same model."""


class ArtifactMismatch(ArtifactError):
    """A replay did not reproduce the golden sample of a model.

    Args:
        name: the tensor, or the part of a detection, that differs.
        error: by how much, in the tensor's own units; NaN counts as a difference.
        limit: how much is allowed.
        where: what was compared, for example a detection; empty for a whole tensor.
    """

    def __init__(self, name: str, error: float, limit: float, where: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(f"golden sample: {name}{place} differs by {error:.6g}; the limit is {limit:.6g}")
        self.name = name
        self.error = error
        self.limit = limit


# ---- what a caller sent ---------------------------------------------------------------------


class BodyTooLarge(ServiceError):
    """The request body is over the byte limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is over the limit of {limit:,} bytes; send a smaller or fewer images")


class BodyTimeout(ServiceError):
    """The request body did not arrive in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the body did not arrive within {limit_s:g} s; send it again")


class MalformedForm(ServiceError):
    """A multipart body that cannot be read as one or more files."""


class EmptyImage(ServiceError):
    """There are no image bytes."""

    def __init__(self) -> None:
        super().__init__("there are no image bytes; send an image as the body, or as a file in a form")


class UnsupportedImage(ServiceError):
    """The bytes do not begin like any image format that is served."""


class UndecodableImage(ServiceError):
    """The bytes begin like an image and cannot be decoded to the end."""


class ImageTooLarge(ServiceError):
    """The image header announces more pixels than the limit; nothing was decoded.

    Args:
        pixels: what the header announces; None if it is too much even to be told.
        limit: the most that is served.
    """

    def __init__(self, pixels: int | None, limit: int) -> None:
        count = "far too many" if pixels is None else f"{pixels:,}"
        super().__init__(f"the image has {count} pixels; the limit is {limit:,}: send a smaller one")


class UnknownModel(ServiceError):
    """No loaded model has this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no model {name!r}; there is {', '.join(known)}")


class UnknownVersion(ServiceError):
    """The backend that was asked for does not serve this version of the model."""

    def __init__(self, name: str, version: str, known: tuple[str, ...]) -> None:
        there_is = f"there is {', '.join(known)}" if known else "none is served now"
        super().__init__(f"there is no version {version!r} of model {name!r}; {there_is}")


class InvalidParameter(ServiceError):
    """A parameter that is unknown, or has a value the model cannot take."""

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class BackendNotOffered(ServiceError):
    """The caller asked for a way of running the model that this build does not have."""

    def __init__(self, name: str, offered: tuple[str, ...]) -> None:
        choices = ", ".join(("auto", *offered))
        super().__init__(f"backend {name!r} is not among SPARSIGHT_BACKENDS here; use one of: {choices}")


# ---- serving --------------------------------------------------------------------------------


class Overloaded(ServiceError):
    """As many requests as allowed are already in flight."""

    def __init__(self, limit: int, retry_after_s: int) -> None:
        super().__init__(f"{limit} requests are already in flight; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class NotReady(ServiceError):
    """The models are still being loaded, could not be loaded, or the service is stopping."""

    def __init__(self, why: str, retry_after_s: int = 5) -> None:
        super().__init__(f"the service is not ready: {why}")
        self.retry_after_s = retry_after_s


class BackendBusy(ServiceError):
    """The backend has as much waiting work as it takes. It is well, and nobody asks it again at once."""

    def __init__(self, why: str, retry_after_s: int = 1) -> None:
        super().__init__(f"{why}; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class BackendUnavailable(ServiceError):
    """The backend cannot be reached, or cannot run the model now; another one may.

    Args:
        why: a sentence, without its full stop.
        lost: there is no connection, so the next request would fail as well.
        not_run: the backend said that it does not have the model, so it did nothing with the request.
    """

    def __init__(
        self, why: str, *, lost: bool = False, not_run: bool = False, retry_after_s: int = 2
    ) -> None:
        super().__init__(why)
        self.lost = lost
        self.not_run = not_run
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """There was no answer in the time that a caller, or this service, allows.

    Args:
        allowed_s: how long that was.
        silent: a backend was asked, and said nothing for as long as this service ever waits.
    """

    def __init__(self, allowed_s: float, *, silent: bool = False) -> None:
        super().__init__(
            f"there was no answer within {allowed_s:g} s; try again, or allow more time with timeout_ms"
        )
        self.allowed_s = allowed_s
        self.silent = silent


class BackendFailed(ServiceError):
    """The engine refused an input that should have been fine; sending it again will not help."""

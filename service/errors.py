"""Everything that can go wrong while serving, with its facts. Knows nothing of HTTP."""


class ServiceError(Exception):
    """A failure that has a sentence for the person who can do something about it."""


class SettingsInvalid(ServiceError):
    """A setting has a value that cannot be used."""


# ---- the artefact on disk -------------------------------------------------------------------


class ArtifactError(ServiceError):
    """A model folder that cannot be served."""


class ArtifactMissing(ArtifactError):
    """There is no model where one was expected."""


class ArtifactBroken(ArtifactError):
    """A model folder is incomplete, altered, or breaks the manifest's contract."""


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
        super().__init__("there are no image bytes; send a picture as the body, or as a file in a form")


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


class InvalidParameter(ServiceError):
    """A parameter that is unknown, or has a value the model cannot take."""

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class BackendNotOffered(ServiceError):
    """The caller asked for a way of running the model that this build does not have."""

    def __init__(self, name: str, offered: tuple[str, ...]) -> None:
        choices = ", ".join(("auto", *offered))
        super().__init__(f"backend {name!r} is not available in this build; use one of: {choices}")


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


class BackendFailed(ServiceError):
    """The engine refused an input that should have been fine; sending it again will not help."""

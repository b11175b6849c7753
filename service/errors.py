"""Define the errors of the service, independent of HTTP; each error holds the facts about a failure."""

import math
import re
from typing import Self


class ServiceError(Exception):
    """The base class of the service's errors; each message says what to do."""


def slug_of(error: type[ServiceError]) -> str:
    """Return the name of an error class for problems and metrics, for example image-too-large."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


class SettingsInvalid(ServiceError):
    """A setting has a value that the service cannot use, or the settings contradict each other."""


class AccessFileInvalid(SettingsInvalid):
    """A file that the access settings name cannot be used, for example because it is missing."""


class ExportRefused(SettingsInvalid):
    """Kept images cannot be exported as asked, for example because there are none."""


# ---- the artifact on disk -------------------------------------------------------------------


class ArtifactError(ServiceError):
    """The base class of errors about a model folder that the service cannot serve."""


class ArtifactMissing(ArtifactError):
    """The model repository does not exist, or holds no model for the target."""


class ArtifactBroken(ArtifactError):
    """A model folder is incomplete or altered, or its manifest or graph is invalid."""


class ArtifactConflict(ArtifactError):
    """Triton and the local repository hold different artifacts under the same name and version."""


class ArtifactMismatch(ArtifactError):
    """The outputs of a model for its golden sample differ from the recorded outputs.

    Args:
        name: the tensor, or the part of a detection, that differs.
        error: size of the difference, in the tensor's own units; NaN counts as a difference.
        limit: largest allowed difference.
        where: the compared item, for example a detection; empty for a whole tensor.
    """

    def __init__(self, name: str, error: float, limit: float, where: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(f"golden sample: {name}{place} differs by {error:.6g}; the limit is {limit:.6g}")
        self.name = name
        self.error = error
        self.limit = limit


class ArtifactUnproved(ArtifactError):
    """The model was exported without a proof that it works, and the settings forbid such models."""


# ---- the caller's request -------------------------------------------------------------------


class BodyTooLarge(ServiceError):
    """The request body has more bytes than the limit allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body is over the limit of {limit:,} bytes (SPARSIGHT_MAX_BODY_BYTES);"
            " send a smaller image or fewer"
        )


class BodyTimeout(ServiceError):
    """The request body did not arrive in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the body did not arrive within {limit_s:g} s (SPARSIGHT_BODY_TIMEOUT_S); send it again"
        )


class MalformedForm(ServiceError):
    """The multipart body cannot be read as a form with files."""


class FormTooLarge(ServiceError):
    """A form has too many files or fields, a field that is too large, or headers that are too long."""


class EmptyImage(ServiceError):
    """The request has no image bytes."""

    def __init__(self) -> None:
        super().__init__("there are no image bytes; send an image as the body, or as a file in a form")


class UnsupportedImage(ServiceError):
    """The first bytes do not match any image format that the service accepts."""


class UndecodableImage(ServiceError):
    """The bytes begin like an image, but cannot be decoded: they are truncated or damaged."""


class ImageTooLarge(ServiceError):
    """The image header announces more pixels than the limit allows; the image was not decoded.

    Args:
        pixels: number of pixels that the header announces; None if Pillow refused the header's size.
        limit: largest number of pixels that the service accepts.
    """

    def __init__(self, pixels: int | None, limit: int) -> None:
        count = "far too many" if pixels is None else f"{pixels:,}"
        super().__init__(
            f"the image has {count} pixels, and the limit is {limit:,} (SPARSIGHT_MAX_PIXELS);"
            " send a smaller image"
        )


class FetchOff(ServiceError):
    """The request names an image by URL, but the operator lists no host to fetch from."""

    def __init__(self) -> None:
        super().__init__(
            "this service fetches no URLs; send the file's bytes, or ask the operator to list the URL's host"
            " in SPARSIGHT_FETCH__HOSTS"
        )


class FetchRefused(ServiceError):
    """The service may not fetch from the URL of an image; it has looked up no name and made no connection."""


class FetchFailed(ServiceError):
    """The service may fetch from the URL, but got no image.

    Args:
        place: host and port.
        why: the reason, as the end of a sentence; it tells the caller nothing about the service's own
            network.
    """

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"the image was not fetched from {place}: {why}")


class FetchTooLarge(ServiceError):
    """The images behind the URLs of a request have more bytes than the limit allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"what the request's URLs lead to is over the limit of {limit:,} bytes"
            " (SPARSIGHT_FETCH__MAX_BYTES); name smaller images or fewer"
        )


class UnknownModel(ServiceError):
    """The service has no model with the requested name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no model {name[:80]!r}; the models are {', '.join(known)}")


class UnknownVersion(ServiceError):
    """No backend that may answer the request serves the requested version of the model."""

    def __init__(self, name: str, version: str, known: tuple[str, ...]) -> None:
        there_is = f"its versions are {', '.join(known)}" if known else "no version is served now"
        super().__init__(f"there is no version {version!r} of model {name!r}; {there_is}")


class NovelOff(ServiceError):
    """The service keeps no novel images, because no folder is set."""

    def __init__(self) -> None:
        super().__init__("no novel images are kept here; set SPARSIGHT_NOVEL__FOLDER to a folder")


class UnknownImage(ServiceError):
    """No novel image with this id is kept."""

    def __init__(self, image_id: str) -> None:
        super().__init__(f"there is no image {image_id[:40]!r}; GET /novel lists the ids")


class NotDeleted(ServiceError):
    """A novel image cannot be deleted, because its files cannot be removed."""

    def __init__(self, image_id: str, why: str) -> None:
        how = "let the service write to SPARSIGHT_NOVEL__FOLDER, and delete it again"
        super().__init__(f"image {image_id!r} cannot be deleted: {why}; {how}")


class NoExample(ServiceError):
    """The files of a served model are not on this machine, so there is no example image."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"there is no example image for model {name!r}: {why}")


class NoReport(ServiceError):
    """A served model has no report on what its experts serve, or its files are not on this machine."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"there is no report on the experts of model {name!r}: {why}")


class InvalidParameter(ServiceError):
    """A parameter of the request is unknown, or its value is not accepted."""

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class BackendNotOffered(ServiceError):
    """The requested backend is not one of the service's configured backends."""

    def __init__(self, name: str, offered: tuple[str, ...]) -> None:
        choices = ", ".join(("auto", *offered))
        super().__init__(f"backend {name!r} is not among SPARSIGHT_BACKENDS here; use one of: {choices}")


# ---- serving --------------------------------------------------------------------------------


class ReloadIncomplete(ServiceError):
    """The service read the repository again, but could not load or remove at least one model."""


class Overloaded(ServiceError):
    """The service gets more requests than it can answer in time, so it refuses this request at once.

    Args:
        why: the reason, as a sentence without a full stop.
        until_s: predicted seconds until the service can accept the request; rounded up to whole seconds.
    """

    def __init__(self, why: str, until_s: float = 1.0) -> None:
        self.retry_after_s = max(1, math.ceil(until_s))
        super().__init__(f"{why}; try again in {self.retry_after_s} s")


class NotReady(ServiceError):
    """The service is loading models, failed to load them, has no healthy backend, or is stopping."""

    def __init__(self, why: str, retry_after_s: int = 5) -> None:
        super().__init__(f"the service is not ready: {why}")
        self.retry_after_s = retry_after_s


class OutOfResources(ServiceError):
    """The operating system currently gives this process no more memory or threads."""

    def __init__(self, what: str, retry_after_s: int = 2) -> None:
        super().__init__(f"the service has no {what} left for this request; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s

    @classmethod
    def of(cls, error: Exception) -> Self | None:
        """Return the service's error if this one means that memory or threads ran out; otherwise None."""
        if isinstance(error, MemoryError):
            return cls("memory")
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return cls("thread")
        return None


class BackendBusy(ServiceError):
    """The backend's queue is full. The backend is healthy, and the service does not retry the request."""

    def __init__(self, why: str, retry_after_s: int = 1) -> None:
        super().__init__(f"{why}; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class BackendUnavailable(ServiceError):
    """The backend cannot be reached, or cannot run the model now; another backend may be able to run it.

    Args:
        why: the reason, as a sentence without a full stop.
        lost: whether the connection is lost, so that the next request would also fail.
        not_run: whether the backend answered that it does not have the model, and so has not run the request.
        of_path: whether the backend lacks only the graph of the image's path, and can answer other images.
        retry_after_s: seconds after which the caller may retry.
    """

    def __init__(
        self,
        why: str,
        *,
        lost: bool = False,
        not_run: bool = False,
        of_path: bool = False,
        retry_after_s: int = 2,
    ) -> None:
        super().__init__(why)
        self.lost = lost
        self.not_run = not_run
        self.of_path = of_path
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The answer did not arrive within the time limit of the caller or of the service.

    Args:
        allowed_s: the time limit, in seconds.
        silent: whether a backend got the request and did not answer within the service's own time limit.
        of_path: whether a backend answered which path the image takes, and only the graph of this path is
            missing.
    """

    def __init__(self, allowed_s: float, *, silent: bool = False, of_path: bool = False) -> None:
        super().__init__(
            f"there was no answer within {allowed_s:g} s; try again, or allow more time with timeout_ms"
        )
        self.allowed_s = allowed_s
        self.silent = silent
        self.of_path = of_path


class ExplanationTooSlow(ServiceError):
    """The time until the deadline is too short for the runs that an explanation needs.

    Args:
        needed_s: seconds that the coarsest explanation would need.
        left_s: seconds that are left.
    """

    def __init__(self, needed_s: float, left_s: float) -> None:
        super().__init__(
            f"an explanation needs about {needed_s:.2g} s here, and {left_s:.2g} s are left;"
            " allow more time with timeout_ms, or leave out explain"
        )


class RouteTooSlow(ServiceError):
    """The graph for the path of the image would end after the deadline, so the service did not run it.

    Args:
        path, top_k: the route.
        needed_s: seconds that the graph is expected to take.
        left_s: seconds that are left.
        cheaper: a lower top_k that would probably end in time; None if there is none.
    """

    def __init__(self, path: int, top_k: int, needed_s: float, left_s: float, cheaper: int | None) -> None:
        other = "" if cheaper is None else f", or ask for top_k={cheaper}"
        super().__init__(
            f"the image takes path {path}, which needs about {needed_s:.2g} s at top_k {top_k} here, and"
            f" {left_s:.2g} s are left; allow more time with timeout_ms{other}"
        )


class BackendFailed(ServiceError):
    """The engine refused a valid input, or its outputs do not match the manifest; a retry would not help."""


BACKEND_ERRORS = (BackendBusy, BackendUnavailable, DeadlineExceeded, BackendFailed)
"""The errors that say that a backend did not answer; `sparsight_backend_errors_total` counts them."""

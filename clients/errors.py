"""Define the errors that this package raises; the message of each error says what to do."""


class ClientError(Exception):
    """The base class of every error that this package raises."""


# ---- the call -------------------------------------------------------------------------------


class BadImage(ClientError):
    """The given bytes or pixels are not an image, or the service does not accept the image."""


class BadParameter(ClientError):
    """A parameter of the call has a value that the client, the service or the model does not accept.

    Args:
        parameter: name of the parameter in the call.
        sentence: message that says what is wrong and which values are accepted.
    """

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class WrongTask(ClientError):
    """The model's task is not the task of the call; for example, detect() was called for a classifier."""

    def __init__(self, model: str, task: str) -> None:
        method = "detect_oriented" if task == "obb" else task
        super().__init__(f"model {model!r} is for the task {task!r}; call {method}() instead")
        self.model = model
        self.task = task


class NotInstalled(ClientError):
    """A Python library that the call needs is missing, such as the one for gRPC."""


# ---- the connection to the server -----------------------------------------------------------


class Unreachable(ClientError):
    """The client cannot connect to the server, or the connection broke; the same call may succeed later."""


class DeadlineExceeded(ClientError):
    """The answer did not arrive in time; the server may or may not have done the work.

    Args:
        timeout_s: time limit of the call, in seconds.
        sentence: the server's message, if the server's own time limit passed before `timeout_s`; None to use
            the client's message, which names `timeout_s`.
    """

    def __init__(self, timeout_s: float, sentence: str | None = None) -> None:
        super().__init__(
            sentence
            or f"no answer within {timeout_s:.3g} s; give more time (timeout_s), or send fewer images at once"
        )


# ---- the server's answer --------------------------------------------------------------------


class Busy(ClientError):
    """The server already has as many requests as it accepts. The client does not retry the request.

    Args:
        sentence: message that says what the server answered and what to do.
        retry_after_s: seconds after which the server suggests a retry; None if the server suggests none.
    """

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class LimitReached(Busy):
    """The client's key has used up the requests that it may send in a second, or in a day."""


class Unavailable(ClientError):
    """The service answers, but none of its backends can run the model now; a later call may succeed.

    Args:
        sentence: the service's message.
        retry_after_s: seconds after which the service suggests a retry; None if it suggests none.
    """

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class NotServed(ClientError):
    """The server does not have the requested model or version, or has not loaded the model."""


class Refused(ClientError):
    """The server does not accept this request, and would not accept it later."""


class KeyRefused(Refused):
    """The service asks for a key, and the client's key is missing, not valid, or not for this call."""


class ServerFailed(ClientError):
    """The server accepted the request, but failed to run it."""


class ManifestMismatch(ClientError):
    """Triton's manifest of the model is missing or altered, or does not match an answer."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(
            f"{model}: {problem}; load the model again, and if that does not help, export the model again"
        )


class UnreadableAnswer(ClientError):
    """The answer cannot be read; it is from another server, or from another release of the service."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"the answer of {url} cannot be read: {problem};"
            " check the URL, and that service and client are of the same release"
        )

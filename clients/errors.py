"""Everything that can go wrong for a caller, with a sentence that says what to do."""


class ClientError(Exception):
    """An answer that was not given. Every error of this package is one."""


# ---- the call -------------------------------------------------------------------------------


class BadImage(ClientError):
    """Bytes or pixels that are not an image, or an image that the service does not take."""


class BadParameter(ClientError):
    """A parameter with a value that the model cannot take.

    Args:
        parameter: its name in the call.
        sentence: what is wrong, and what would be right.
    """

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class WrongTask(ClientError):
    """The model has another task than the call: `task` says which."""

    def __init__(self, model: str, task: str) -> None:
        super().__init__(f"model {model!r} is for the task {task!r}; call {task}() instead")
        self.model = model
        self.task = task


class NotInstalled(ClientError):
    """A library that the chosen protocol needs is missing."""


# ---- the way to the server ------------------------------------------------------------------


class Unreachable(ClientError):
    """There is no connection to the server, or it broke; the same call may succeed later."""


class DeadlineExceeded(ClientError):
    """No answer in time; the server may or may not have done the work.

    Args:
        timeout_s: how long the call could take.
        sentence: what to say instead, where the server had a shorter limit of its own.
    """

    def __init__(self, timeout_s: float, sentence: str | None = None) -> None:
        super().__init__(
            sentence
            or f"no answer within {timeout_s:.3g} s; give more time (timeout_s), or send fewer images at once"
        )


# ---- the server's answer --------------------------------------------------------------------


class Busy(ClientError):
    """The server has as much work as it takes. Never sent again here.

    Args:
        sentence: what the server said, and what to do.
        retry_after_s: when the server suggests to send it again; None if it does not.
    """

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class Unavailable(ClientError):
    """The service answers, and has nothing now that could run the model; later it may.

    Args:
        sentence: what the service said.
        retry_after_s: when the service suggests to send it again; None if it does not.
    """

    def __init__(self, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class NotServed(ClientError):
    """The server has no such model or version, or it is not loaded."""


class Refused(ClientError):
    """The server does not accept this request; sending it again will not help."""


class ServerFailed(ClientError):
    """The server accepted the request and failed."""


class ManifestMismatch(ClientError):
    """What Triton says about the model is missing, altered, or does not fit its answers."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(
            f"{model}: {problem}; load the model again, and if that does not help, export it again"
        )


class UnreadableAnswer(ClientError):
    """What answers at a URL is not the service, or one that this client does not understand."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"the answer of {url} cannot be read: {problem};"
            " check the URL, and that service and client are of the same release"
        )

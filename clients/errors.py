"""Everything that can go wrong for a caller, with a sentence that says what to do."""


class DetectorError(Exception):
    """A detection that was not made. Every error of this package is one."""


# ---- the call -------------------------------------------------------------------------------


class BadImage(DetectorError):
    """Bytes or pixels that are not a picture; nothing was sent."""


class BadParameter(DetectorError):
    """A parameter with a value that the model cannot take; nothing was sent.

    Args:
        parameter: its name in the call.
        sentence: what is wrong, and what would be right.
    """

    def __init__(self, parameter: str, sentence: str) -> None:
        super().__init__(sentence)
        self.parameter = parameter


class NotInstalled(DetectorError):
    """A library that the chosen protocol needs is missing."""


# ---- the way to the server ------------------------------------------------------------------


class Unreachable(DetectorError):
    """There is no connection to the server, or it broke; the same call may succeed later."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"cannot reach Triton at {url}: {reason}; check that it runs, that this is the port of the"
            " protocol in use (usually 8001 for grpc, 8000 for http), and that tls is on if the server has it"
        )


class DeadlineExceeded(DetectorError):
    """No answer in time; the server may or may not have done the work."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"no answer within {timeout_s:.3g} s; give more time (timeout_s), or send fewer images at once"
        )


# ---- the server's answer --------------------------------------------------------------------


class Busy(DetectorError):
    """The server's queue is full, or the request waited too long in it. Never retried here."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Triton has more work than it can queue ({reason}); send it again later, or slower")


class NotServed(DetectorError):
    """The server has no such model, or it is not loaded."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(
            f"Triton does not serve {model} ({reason}); check model and target, and that it is loaded"
        )


class Refused(DetectorError):
    """The server does not accept this request; sending it again will not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Triton refuses the request: {reason}; check that it loaded what this project exported"
        )


class ServerFailed(DetectorError):
    """The server accepted the request and failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Triton failed: {reason}; its log says more, and loading the model again may help")


class ManifestMismatch(DetectorError):
    """What the server says about the model is missing, altered, or does not fit its answers."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(
            f"{model}: {problem}; load the model again, and if that does not help, export it again"
        )

"""Triton over HTTP: the Open Inference Protocol with its binary tensors, on urllib3.

Not with NVIDIA's client library: its HTTP client may be used by one thread only, and has no time limit for
a call.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3
from numpy.typing import NDArray

from clients.errors import BadParameter, DeadlineExceeded, ManifestMismatch, Unreachable
from clients.transport import DATATYPES, Deadline, Tls, refusal

_HEADER_LENGTH = "Inference-Header-Content-Length"
_NUMPY_TYPES = {datatype: name for name, datatype in DATATYPES.items()}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CONNECTIONS = 64  # kept open; more threads than these open and close their own


class HttpTransport:
    """A pool of connections. Threads share it, each call has one for itself."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        self._url = url
        address, slash, path = url.partition("/")
        self._prefix = (slash + path).rstrip("/")
        scheme = "http" if tls is None else "https"
        self._pool = urllib3.connection_from_url(
            f"{scheme}://{address}", maxsize=_CONNECTIONS, retries=False, **_tls_arguments(tls)
        )

    def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters of a model's configuration."""
        answer = self._request("GET", model, "config", deadline)
        parameters = _document(answer.data, model).get("parameters", {})
        try:
            return {name: str(value["string_value"]) for name, value in parameters.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ManifestMismatch(model, "its configuration cannot be read") from error

    def infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], deadline: Deadline
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return those of the wanted outputs that it has."""
        header = json.dumps(_infer_header(inputs, deadline.left_s())).encode()
        body = b"".join([header, *(value.tobytes() for value in inputs.values())])
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}
        answer = self._request("POST", model, "infer", deadline, body=body, headers=headers)
        found = _tensors(answer.data, answer.headers.get(_HEADER_LENGTH, ""), model)
        return {name: found[name] for name in outputs if name in found}

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _request(
        self, method: str, model: str, action: str, deadline: Deadline, **content: Any
    ) -> urllib3.BaseHTTPResponse:
        try:
            answer = self._pool.request(
                method,
                f"{self._prefix}/v2/models/{quote(model, safe='')}/{action}",
                timeout=urllib3.Timeout(total=deadline.left_s()),
                **content,
            )
        except urllib3.exceptions.NewConnectionError as error:  # a kind of timeout to urllib3
            raise Unreachable(self._url, _reason(error)) from error
        except urllib3.exceptions.TimeoutError as error:
            raise DeadlineExceeded(deadline.timeout_s) from error
        except urllib3.exceptions.ProtocolError as error:
            broken = "the connection broke, or something else than HTTP is spoken there"
            raise Unreachable(self._url, broken) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(self._url, _reason(error)) from error
        if answer.status != 200:
            status = _STATUS.get(answer.status, f"HTTP status {answer.status}")
            raise refusal(status, _error_text(answer.data), url=self._url, model=model, deadline=deadline)
        return answer


def _tls_arguments(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except ssl.SSLError as error:
        raise BadParameter("tls", f"the tls files cannot be used: {error}") from error
    return {"ssl_context": context}


def _infer_header(inputs: Mapping[str, NDArray[Any]], timeout_s: float) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": name,
                "shape": list(value.shape),
                "datatype": DATATYPES[str(value.dtype)],
                "parameters": {"binary_data_size": value.nbytes},
            }
            for name, value in inputs.items()
        ],
        # The time limit is told to the server, which then does not start what nobody waits for.
        "parameters": {"binary_data_output": True, "timeout": max(1, int(timeout_s * 1e6))},
    }


def _tensors(data: bytes, header_length: str, model: str) -> dict[str, NDArray[Any]]:
    if not header_length.isdigit():
        raise ManifestMismatch(model, "the answer has no binary tensors")
    offset = int(header_length)
    found = {}
    try:
        for output in _document(data[:offset], model)["outputs"]:
            size = output["parameters"]["binary_data_size"]
            raw = np.frombuffer(data[offset : offset + size], dtype=_NUMPY_TYPES[output["datatype"]])
            found[output["name"]] = raw.reshape(output["shape"])
            offset += size
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestMismatch(model, f"the answer cannot be read ({error!r})") from error
    return found


def _document(data: bytes, model: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ManifestMismatch(model, "the answer is not JSON, so it is not Triton that answers") from error
    if not isinstance(document, dict):
        raise ManifestMismatch(model, "the answer is not an object, so it is not Triton that answers")
    return document


def _error_text(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode(errors="replace")


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2] or type(error).__name__

"""Call Triton over HTTP, with HTTPX and the Open Inference Protocol's binary tensors.

NVIDIA's client library is not used here, because its HTTP client works only in one thread and has no time
limit for a call.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from .errors import ManifestMismatch
from .exchange import Received, opened, send
from .tls import Tls
from .transport import DATATYPES, Deadline
from .triton_status import to_error, unreachable

_HEADER_LENGTH = "Inference-Header-Content-Length"
_NUMPY_TYPES = {datatype: name for name, datatype in DATATYPES.items()}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class HttpTransport:
    """A pool of HTTP connections to one Triton server.

    Threads may share the pool; each call uses one connection.
    """

    def __init__(self, url: str, tls: Tls | None) -> None:
        self._url = url
        scheme = "http" if tls is None else "https"
        self._client = opened(
            httpx.Client,
            f"{scheme}://{url}",
            tls,
            trust_env=False,  # connect directly, even if the environment names a proxy
            headers={"Accept-Encoding": "identity"},  # otherwise Triton compresses tensors, which is slow
        )

    def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters in Triton's configuration of a model, by name."""
        answer = self._request("GET", model, "config", deadline)
        parameters = _document(answer.body, model).get("parameters", {})
        try:
            return {name: str(value["string_value"]) for name, value in parameters.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ManifestMismatch(model, "its configuration cannot be read") from error

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        deadline: Deadline,
        parameters: Mapping[str, int],
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return, by name, the outputs in `outputs` that the server's answer contains."""
        header = json.dumps(_infer_header(inputs, deadline.left_s(), parameters)).encode()
        body = b"".join([header, *(value.tobytes() for value in inputs.values())])
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}
        answer = self._request("POST", model, "infer", deadline, content=body, headers=headers)
        found = _tensors(answer.body, answer.headers.get(_HEADER_LENGTH, ""), model)
        return {name: found[name] for name in outputs if name in found}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, method: str, model: str, action: str, deadline: Deadline, **content: Any) -> Received:
        path = f"v2/models/{quote(model, safe='')}/{action}"
        request = self._client.build_request(method, path, **content)
        answer = send(self._client, request, deadline, lambda reason: unreachable(self._url, reason))
        if answer.status != 200:
            status = _STATUS.get(answer.status, f"HTTP status {answer.status}")
            text = _error_text(answer.body)
            limit_s, late = deadline.timeout_s, deadline.is_near
            raise to_error(status, text, url=self._url, model=model, timeout_s=limit_s, late=late)
        return answer


def _infer_header(
    inputs: Mapping[str, NDArray[Any]], timeout_s: float, parameters: Mapping[str, int]
) -> dict[str, Any]:
    # The server drops a request that is still queued after `timeout`, in microseconds.
    timeout = max(1, int(timeout_s * 1e6))
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
        "parameters": {**parameters, "binary_data_output": True, "timeout": timeout},
    }


def _tensors(data: bytes, header_length: str, model: str) -> dict[str, NDArray[Any]]:
    if not header_length.isdigit():
        raise ManifestMismatch(model, "the answer has no binary tensors")
    offset = int(header_length)
    found = {}
    try:
        for output in _document(data[:offset], model)["outputs"]:
            size = output["parameters"]["binary_data_size"]
            raw = _values(data[offset : offset + size], output["datatype"])
            found[output["name"]] = raw.reshape(output["shape"])
            offset += size
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestMismatch(model, f"the answer cannot be read ({error!r})") from error
    return found


def _values(data: bytes, datatype: str) -> NDArray[Any]:
    if datatype != "BYTES":
        return np.frombuffer(data, dtype=_NUMPY_TYPES[datatype])
    texts, offset = [], 0
    while offset < len(data):
        start = offset + 4  # behind the text's length, 4 bytes
        offset = start + int.from_bytes(data[offset:start], "little")
        if offset > len(data):
            raise ValueError("a text is cut off")
        texts.append(data[start:offset])
    found = np.empty(len(texts), dtype=np.object_)
    found[:] = texts
    return found


def _document(data: bytes, model: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ManifestMismatch(model, "the answer is not JSON, so it does not come from Triton") from error
    if not isinstance(document, dict):
        raise ManifestMismatch(model, "the answer is not a JSON object, so it does not come from Triton")
    return document


def _error_text(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode(errors="replace")

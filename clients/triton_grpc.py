"""Call Triton over gRPC, with NVIDIA's client library."""

from collections.abc import Mapping, Sequence
from typing import Any

import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from .errors import ClientError
from .tls import Tls
from .transport import DATATYPES, Deadline
from .triton_status import to_error

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default, a channel whose connection was refused waits up to two minutes before it reconnects.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),  # connect directly, even if the environment names a proxy
    ("grpc.use_local_subchannel_pool", 1),  # no client inherits another client's broken connection
]


class GrpcTransport:
    """A gRPC channel to one Triton server. Threads may share the channel, and their calls run in parallel."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        self._url = url
        self._client = triton.InferenceServerClient(url, channel_args=_CHANNEL, **_tls_arguments(tls))

    def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters in Triton's configuration of a model, by name."""
        try:
            answer = self._client.get_model_config(model, client_timeout=deadline.left_s())
        except InferenceServerException as error:
            raise _refusal(error, self._url, model, deadline) from error
        return _parameters(answer)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        deadline: Deadline,
        parameters: Mapping[str, int],
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return, by name, the outputs in `outputs` that the server's answer contains."""
        try:
            arguments = _infer_arguments(inputs, deadline.left_s(), parameters)
            answer = self._client.infer(model, **arguments)
        except InferenceServerException as error:
            raise _refusal(error, self._url, model, deadline) from error
        return _outputs(answer, outputs)

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


class AsyncGrpcTransport:
    """A gRPC channel to one Triton server, for use in one event loop."""

    def __init__(self, url: str, tls: Tls | None) -> None:
        self._url = url
        self._client = triton_aio.InferenceServerClient(url, channel_args=_CHANNEL, **_tls_arguments(tls))

    async def parameters(self, model: str, deadline: Deadline) -> Mapping[str, str]:
        """Return the parameters in Triton's configuration of a model, by name."""
        try:
            answer = await self._client.get_model_config(model, client_timeout=deadline.left_s())
        except InferenceServerException as error:
            raise _refusal(error, self._url, model, deadline) from error
        return _parameters(answer)

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        deadline: Deadline,
        parameters: Mapping[str, int],
    ) -> Mapping[str, NDArray[Any]]:
        """Run a model; return, by name, the outputs in `outputs` that the server's answer contains."""
        try:
            arguments = _infer_arguments(inputs, deadline.left_s(), parameters)
            answer = await self._client.infer(model, **arguments)
        except InferenceServerException as error:
            raise _refusal(error, self._url, model, deadline) from error
        return _outputs(answer, outputs)

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()


def _tls_arguments(tls: Tls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {
        "ssl": True,
        "root_certificates": tls.ca_file,
        "private_key": tls.key_file,
        "certificate_chain": tls.cert_file,
    }


def _infer_arguments(
    inputs: Mapping[str, NDArray[Any]], timeout_s: float, parameters: Mapping[str, int]
) -> dict[str, Any]:
    tensors = []
    for name, value in inputs.items():
        tensor = triton.InferInput(name, list(value.shape), DATATYPES[str(value.dtype)])
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    # The server drops a request that is still queued after `timeout`, in microseconds.
    timeout = {"client_timeout": timeout_s, "timeout": max(1, int(timeout_s * 1e6))}
    return {"inputs": tensors, "parameters": dict(parameters), **timeout}


def _parameters(answer: Any) -> dict[str, str]:
    return {name: value.string_value for name, value in answer.config.parameters.items()}


def _outputs(answer: Any, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    found = {name: answer.as_numpy(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _refusal(error: InferenceServerException, url: str, model: str, deadline: Deadline) -> ClientError:
    status = str(error.status()).removeprefix("StatusCode.")
    limit_s, late = deadline.timeout_s, deadline.is_near
    return to_error(status, str(error.message()), url=url, model=model, timeout_s=limit_s, late=late)

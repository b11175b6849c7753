"""Hold the gRPC channel to a Triton server, and turn its failures into errors of this service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from tritonclient.grpc import aio, model_config_pb2
from tritonclient.utils import InferenceServerException

from service.backends.triton.status import to_error
from service.errors import BackendUnavailable, DeadlineExceeded, ServiceError, SettingsInvalid
from service.request import RequestContext
from service.settings import TritonSettings
from service.timeline import Fact, Step, begin

T = TypeVar("T")

_SERVICE, _METHOD = "inference.GRPCInferenceService", "ModelInfer"  # of the protocol that Triton serves
_LATE_S = 0.05  # a queue timeout this close to the deadline counts as a passed deadline
_FAIR_SHARE = 0.5  # a timeout is the fault of the server only if it had at least this share of the time
_MS = 1000


@dataclass(frozen=True)
class RepositoryVersion:
    """One version of one model in Triton's repository index."""

    model: str  # <name>-<target>, if this project exported the model
    version: str
    state: str  # READY, LOADING, UNLOADING, UNAVAILABLE; empty if it was never loaded
    reason: str

    @property
    def ready(self) -> bool:
        """Return whether the version is loaded."""
        return self.state == "READY"

    @property
    def why(self) -> str:
        """Return the server's reason why the version is not ready."""
        return self.reason or self.state.lower() or "not loaded"


class TritonChannel:
    """The gRPC connection to one Triton server. Create and use it in the event loop."""

    def __init__(self, settings: TritonSettings) -> None:
        """Prepare the channel. It connects with the first call, and again after a failure.

        Raises:
            SettingsInvalid: a TLS file cannot be read.
        """
        self.url = settings.url
        self._settings = settings
        host, _, port = settings.url.rpartition(":")
        self._facts: Mapping[str, Fact] = {
            "rpc.system": "grpc",
            "rpc.service": _SERVICE,
            "rpc.method": _METHOD,
            "server.address": host,
            "server.port": int(port),
        }
        self._client = _open(settings)

    async def is_live(self, timeout_s: float) -> bool:
        """Return whether the server reports that it is live."""
        return bool(
            await self._ask(lambda client: client.is_server_live(client_timeout=timeout_s), timeout_s)
        )

    async def is_ready(self, model: str, version: str, timeout_s: float) -> bool:
        """Return whether a version is loaded; True even after the process that runs the version has died."""
        ready = await self._ask(
            lambda client: client.is_model_ready(model, version, client_timeout=timeout_s), timeout_s
        )
        return bool(ready)

    async def read_index(self, timeout_s: float) -> tuple[RepositoryVersion, ...]:
        """Return every version of every model in the server's repository index."""
        answer = await self._ask(
            lambda client: client.get_model_repository_index(client_timeout=timeout_s), timeout_s
        )
        return tuple(RepositoryVersion(row.name, row.version, row.state, row.reason) for row in answer.models)

    async def read_parameters(self, model: str, version: str, timeout_s: float) -> Mapping[str, str]:
        """Return the parameters in the configuration of a loaded version."""
        answer = await self._ask(
            lambda client: client.get_model_config(model, version, client_timeout=timeout_s), timeout_s
        )
        config: model_config_pb2.ModelConfig = answer.config
        return {name: value.string_value for name, value in config.parameters.items()}

    async def infer(
        self,
        model: str,
        version: str,
        inputs: Sequence[aio.InferInput],
        outputs: Sequence[aio.InferRequestedOutput],
        context: RequestContext,
    ) -> aio.InferResult:
        """Run a version of a model; cancelling the asyncio task cancels the call on the server as well."""
        left_s = context.left_s()
        with begin(context.step, f"{_SERVICE}/{_METHOD}", self._facts) as step:
            try:
                return await self._client.infer(
                    model,
                    inputs,
                    model_version=version,
                    outputs=outputs,
                    request_id=context.request_id,
                    timeout=max(
                        1, round(left_s * 1e6)
                    ),  # microseconds; the server's queue drops late requests
                    client_timeout=left_s,
                    headers=_headers(context, step),
                )
            except InferenceServerException as error:
                if step is not None:
                    step.facts["rpc.grpc.status"] = (error.status() or "").removeprefix("StatusCode.")
                raise to_error(
                    error.status() or "",
                    error.message() or "",
                    allowed_s=context.allowed_s,
                    own_limit=context.own_limit and left_s >= _FAIR_SHARE * context.allowed_s,
                    late=perf_counter() > context.deadline - _LATE_S,
                ) from error

    async def register_memory(self, name: str, key: str, total_bytes: int, timeout_s: float) -> None:
        """Register a shared memory region with the server; do nothing if it is already registered.

        Raises:
            DeadlineExceeded: the server did not answer, so it is unknown whether it can use the region.
            ServiceError: the server cannot use the region, or cannot be reached.
        """
        client, limit = self._client, timeout_s
        try:
            await client.register_system_shared_memory(name, key, total_bytes, client_timeout=limit)
        except InferenceServerException as error:
            status, message = error.status() or "", error.message() or ""
            if status != "StatusCode.ALREADY_EXISTS":
                raise to_error(status, message, allowed_s=limit, own_limit=True, late=False) from error

    async def unregister_memory(self, name: str, timeout_s: float) -> None:
        """Unregister a shared memory region from the server."""
        await self._ask(
            lambda client: client.unregister_system_shared_memory(name, client_timeout=timeout_s), timeout_s
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _ask(
        self, question: Callable[[aio.InferenceServerClient], Awaitable[T]], timeout_s: float
    ) -> T:
        client = self._client
        try:
            return await question(client)
        except InferenceServerException as error:
            if error.status() == "StatusCode.UNAVAILABLE" and client is self._client:
                self._connect_anew()
            raise self._to_error(error, timeout_s) from error

    def _connect_anew(self) -> None:
        """Use a new channel from now on; calls that still run keep the old one, which closes after them.

        gRPC looks up a name that leads nowhere after 1 s, 1.6 s, 2.6 s and so on, up to two minutes, and no
        option changes that. A new channel looks it up at once.
        """
        with suppress(SettingsInvalid):  # a TLS file is missing for a moment: keep the channel
            self._client = _open(self._settings)

    def _to_error(self, error: InferenceServerException, timeout_s: float) -> ServiceError:
        status, message = error.status() or "", error.message() or ""
        ours = to_error(status, message, allowed_s=timeout_s, own_limit=True, late=False)
        if isinstance(ours, DeadlineExceeded):  # the limit of this call, not of a request
            return BackendUnavailable(f"triton at {self.url} did not answer within {timeout_s:g} s")
        return ours


def _open(settings: TritonSettings) -> aio.InferenceServerClient:
    try:
        return aio.InferenceServerClient(
            settings.url,
            ssl=settings.tls,
            root_certificates=settings.tls_ca,
            private_key=settings.tls_key,
            certificate_chain=settings.tls_cert,
            channel_args=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.keepalive_time_ms", round(settings.keepalive_s * _MS)),
                ("grpc.keepalive_timeout_ms", 2 * _MS),
                # Ping only while a call runs: the prober calls twice a second anyway, and a server closes
                # an idle connection that pings too often.
                ("grpc.keepalive_permit_without_calls", 0),
                # gRPC's own pauses grow to two minutes; a restarted server must be used at once.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 1000),  # time limit of one attempt to connect
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.use_local_subchannel_pool", 1),
                # By default, a lost server's name is looked up again only after 30 s. A server that has
                # moved to another address must be used at once, too.
                ("grpc.dns_min_time_between_resolutions_ms", 500),
                # Ignore http_proxy: hosts set it for outgoing traffic, and Triton is on our network.
                ("grpc.enable_http_proxy", 0),
            ],
        )
    except OSError as error:
        raise SettingsInvalid(f"triton: {error.filename} cannot be read: {error.strerror}") from error


def _headers(context: RequestContext, step: Step | None) -> dict[str, str]:
    """Return the headers of a call; `step` is this call in the request's trace; None without a trace."""
    headers = {"x-request-id": context.request_id} if context.request_id else {}
    if context.traceparent is not None:
        trace = context.traceparent
        headers["traceparent"] = trace if step is None else step.call(trace)
        if context.tracestate is not None:
            headers["tracestate"] = context.tracestate
    return headers

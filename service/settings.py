"""Define the settings of the service; `python -m service` reads them once from the environment."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.guard_settings import AccessSettings, FetchSettings, TlsSettings, split_list
from service.logs import LogFormat

ENV_PREFIX = "SPARSIGHT_"

BackendName = Literal["openvino", "onnx", "triton"]
"""Name of a backend: OpenVINO or ONNX Runtime inside this process, or a Triton server."""

BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)


class OpenVinoSettings(BaseModel, extra="forbid", frozen=True):
    """The settings with which OpenVINO runs a model's graph inside this process."""

    performance: Annotated[
        Literal["throughput", "latency"],
        Field(description="throughput shares the cores among requests; latency gives one request all cores."),
    ] = "throughput"
    threads: Annotated[
        int,
        Field(ge=0, le=1024, description="CPU threads; 0: as many as cores, or fewer if a quota is smaller."),
    ] = 0
    pin_threads: Annotated[
        bool,
        Field(
            description="Pin each thread to a core, counted from the first; only for a process that shares no"
            " cores with another engine."
        ),
    ] = False
    streams: Annotated[
        int, Field(ge=0, le=1024, description="Parallel streams; 0 lets the engine choose.")
    ] = 0
    cache_dir: Annotated[
        Path | None,
        Field(description="Folder for compiled graphs, so that the next start is faster; off if unset."),
    ] = None


class OnnxSettings(BaseModel, extra="forbid", frozen=True):
    """The settings with which ONNX Runtime runs a model's graph inside this process."""

    target: Annotated[
        Literal["onnx", "npu"], Field(description="Export target of the models that ONNX Runtime runs.")
    ] = "onnx"
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="auto takes a GPU if onnxruntime-gpu finds one.")
    ] = "auto"
    intra_op_threads: Annotated[
        int, Field(ge=0, le=1024, description="Threads for one graph; 0: one for each core that may be used.")
    ] = 0
    inter_op_threads: Annotated[
        int, Field(ge=1, le=1024, description="Number of parts of a graph that run at the same time.")
    ] = 1


class TritonSettings(BaseModel, extra="forbid", frozen=True):
    """The address of a Triton server, and the settings of the gRPC connection to it."""

    url: Annotated[
        str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$", description="Host and gRPC port, without a scheme.")
    ] = "127.0.0.1:8001"
    target: Annotated[
        Literal["openvino", "onnx", "npu", "tensorrt"],
        Field(description="Export target of the models that Triton runs."),
    ] = "openvino"
    max_inflight: Annotated[
        int,
        Field(
            ge=1, le=10_000, description="Images sent to Triton at once; further images wait in this process."
        ),
    ] = 64
    refresh_s: Annotated[
        float, Field(gt=0, le=3600, description="Seconds between checks for new versions of the models.")
    ] = 2.0
    keepalive_s: Annotated[
        float, Field(ge=1, le=3600, description="Seconds between pings while a call waits for data.")
    ] = 10.0
    shared_memory: Annotated[
        bool, Field(description="Pass images through /dev/shm; Triton must share this folder.")
    ] = False
    tls: Annotated[bool, Field(description="Encrypt the connection.")] = False
    tls_ca: Annotated[
        Path | None,
        Field(description="File with the CA certificates for Triton's certificate; if unset, the system's."),
    ] = None
    tls_cert: Annotated[
        Path | None, Field(description="File with the client certificate that this service sends to Triton.")
    ] = None
    tls_key: Annotated[
        Path | None, Field(description="File with the private key of the client certificate.")
    ] = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; set both or neither")
        if not self.tls and any((self.tls_ca, self.tls_cert)):
            raise ValueError("tls_ca or tls_cert is set, but tls is false; set tls to true")
        return self


class BreakerSettings(BaseModel, extra="forbid", frozen=True):
    """The settings of the circuit breakers, and of the probes that check Triton's health."""

    failures: Annotated[
        int,
        Field(ge=1, le=1000, description="Failures in a row after which a backend gets no more requests."),
    ] = 3
    probe_interval_s: Annotated[
        float, Field(gt=0, le=60, description="Seconds between checks of Triton's health.")
    ] = 0.5
    probe_timeout_s: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Time limit of a health check in seconds; must be longer than one inference takes.",
        ),
    ] = 1.0


class BrownoutSettings(BaseModel, extra="forbid", frozen=True):
    """The bounds within which fewer experts run while images wait; without bounds, quality never falls."""

    min_top_k: Annotated[
        Annotated[int, Field(ge=0)] | None,
        Field(description="Lowest top_k under load, for requests that name none; if unset, the default."),
    ] = None
    max_weight_threshold: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(description="Highest weight_threshold under load, likewise; if unset, the default."),
    ] = None

    @property
    def lowers(self) -> bool:
        """Return whether there is a bound, so that quality may fall."""
        return self.min_top_k is not None or self.max_weight_threshold is not None


class AuditSettings(BaseModel, extra="forbid", frozen=True):
    """The settings of audits: a share of the answers is compared with those of a reference."""

    share: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of the answers that are audited, 0 to 1; fewer if the reference is slower than"
            " the backend. 0: none.",
        ),
    ] = 0.0
    reference: Annotated[
        Literal["openvino", "onnx"] | None,
        Field(
            description="Engine that runs the reference in this process: openvino or onnx. If unset, that of"
            " the most exact export of the same checkpoint."
        ),
    ] = None
    quarantine: Annotated[
        bool,
        Field(description="Send no more requests to a backend that disagrees; false: only report it."),
    ] = True


class NovelSettings(BaseModel, extra="forbid", frozen=True):
    """The folder of novel images for labelling, and its limits. Without a folder, no images are kept."""

    folder: Annotated[
        Path | None,
        Field(description="Folder for novel images, of this process alone. If unset, no image is kept."),
    ] = None
    images: Annotated[
        int, Field(ge=1, le=10_000, description="Most images in the folder; the least novel ones go.")
    ] = 1000
    bytes: Annotated[int, Field(ge=1, description="Most bytes in the folder, likewise.")] = 1_000_000_000
    share: Annotated[
        float,
        Field(gt=0, le=1, description="Share of the images that counts as novel: the most novel of late."),
    ] = 0.05


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


def _origin(text: str) -> str:
    """Return a web origin as browsers send it: lower case, without the scheme's default port."""
    scheme, mark, host = text.lower().partition("://")
    origin = scheme + mark + host.removesuffix(_DEFAULT_PORT.get(scheme, ""))
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise ValueError("write an origin as http://host:port or https://host, without a path; * allows all")
    return origin


class Settings(BaseSettings):
    """All settings of the service. Environment variables are upper case with the prefix SPARSIGHT_."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", populate_by_name=True
    )

    host: Annotated[
        str,
        Field(
            min_length=1,
            validation_alias=AliasChoices("SPARSIGHT_HOST", "HOST"),
            description="Listen address.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(
            ge=0,
            le=65535,
            validation_alias=AliasChoices("SPARSIGHT_PORT", "PORT"),
            description="Listen port; 0 takes a free one.",
        ),
    ] = 8000
    admin_host: Annotated[str, Field(min_length=1, description="Listen address of the operator's port.")] = (
        "127.0.0.1"
    )
    admin_port: Annotated[
        Annotated[int, Field(ge=0, le=65535)] | None,
        Field(
            description="Port for the operator's routes, which then are on no other; 0 takes a free one. If"
            " unset, they are on the main port."
        ),
    ] = None
    max_connections: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000)] | None,
        Field(
            description="Open connections; further ones are closed. If unset, 4096, or fewer if the process"
            " may open few files."
        ),
    ] = None
    backends: Annotated[
        tuple[BackendName, ...],
        NoDecode,  # "openvino,triton", not JSON
        BeforeValidator(split_list),
        Field(
            min_length=1,
            description=f"Backends to use, preferred first: one or more of {', '.join(BACKEND_NAMES)}.",
        ),
    ] = ("openvino",)
    repository: Annotated[
        Path, Field(description="Folder that holds the models, as <name>-<target>/<version>/.")
    ] = Path("model_repository")
    target: Annotated[
        Literal["openvino", "onnx", "npu"],
        Field(description="Export target of the models that OpenVINO runs in this process."),
    ] = "openvino"
    default_model: Annotated[
        str | None, Field(description="Model for requests that name no model; if unset, the first by name.")
    ] = None
    serve_unproved: Annotated[
        bool, Field(description="Also serve models that were exported with --unproved.")
    ] = False
    workers: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="Graphs that run at the same time, while two more images are decoded.",
        ),
    ] = 2
    max_inflight: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Requests in flight, including waiting requests; further requests get a 429.",
        ),
    ] = 64
    max_inflight_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="Bytes of all request bodies in flight; further requests get a 429. A body of unknown"
            " size counts as the largest allowed.",
        ),
    ] = 256_000_000
    max_queue_s: Annotated[
        Annotated[float, Field(gt=0, le=600)] | None,
        Field(
            description="Longest predicted wait of an image for its turn, in seconds; further images get a"
            " 429. If unset, twice as long as an image takes.",
        ),
    ] = None
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body, in bytes.")] = 20_000_000
    max_pixels: Annotated[int, Field(ge=1, description="Largest image, in pixels, read from its header.")] = (
        40_000_000
    )
    bits: Annotated[
        int | None,
        Field(
            ge=8,
            le=16,
            description="Bits that an image file with 16 bits per value holds; if unset, the file tells.",
        ),
    ] = None
    max_files: Annotated[int, Field(ge=1, le=1000, description="Most files in one form.")] = 16
    explain: Annotated[
        bool,
        Field(
            description="Whether requests may set explain=route. One such request takes the computing of"
            " more than a hundred images, with the lowest priority; one is explained at a time."
        ),
    ] = False
    body_timeout_s: Annotated[float, Field(gt=0, description="Seconds for a request body to arrive.")] = 30.0
    timeout_s: Annotated[
        float, Field(gt=0, le=600, description="Seconds for an answer, unless a request sets timeout_ms.")
    ] = 10.0
    shutdown_delay_s: Annotated[
        float,
        Field(
            ge=0,
            le=600,
            description="Seconds after SIGTERM in which new requests are still taken while /readyz answers"
            " 503, so that a load balancer notices first.",
        ),
    ] = 0.0
    shutdown_timeout_s: Annotated[
        int, Field(ge=1, description="Seconds for requests in flight to finish after SIGTERM.")
    ] = 30
    cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...],
        NoDecode,
        BeforeValidator(split_list),
        Field(
            description="Origins of web pages that may call this service, as https://app.example;"
            " separated by commas; * allows every page."
        ),
    ] = ()
    admin_token: Annotated[
        Annotated[SecretStr, Field(min_length=16)] | None,
        BeforeValidator(lambda value: value or None),  # a variable that is set to "" counts as unset
        Field(
            description="Secret for administrators, as for POST /models/reload; at least 16 characters.",
        ),
    ] = None
    log_format: Annotated[
        LogFormat, Field(description="Format of a log line: text for people, json for a log collector.")
    ] = "text"
    tracing: Annotated[
        bool,
        Field(description="Send traces to an OpenTelemetry collector; variables OTEL_… say where to."),
    ] = False
    access: AccessSettings = AccessSettings()
    tls: TlsSettings = TlsSettings()
    fetch: FetchSettings = FetchSettings()
    openvino: OpenVinoSettings = OpenVinoSettings()
    onnx: OnnxSettings = OnnxSettings()
    triton: TritonSettings = TritonSettings()
    breaker: BreakerSettings = BreakerSettings()
    brownout: BrownoutSettings = BrownoutSettings()
    audit: AuditSettings = AuditSettings()
    novel: NovelSettings = NovelSettings()

    @model_validator(mode="after")
    def _lists_make_sense(self) -> Self:
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise ValueError("cors_origins allows every origin with *; leave the others out, or leave * out")
        if len(set(self.backends)) != len(self.backends):
            raise ValueError("backends must name each backend once")
        if self.port and self.port == self.admin_port:
            raise ValueError("admin_port must be another port than port")
        return self

"""Every setting of the service, read once from the environment by `python -m service`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "SPARSIGHT_"


class OpenVinoSettings(BaseModel, extra="forbid", frozen=True):
    """How OpenVINO runs a graph inside this process."""

    performance: Annotated[
        Literal["throughput", "latency"],
        Field(description="throughput shares the cores among requests; latency gives one request all."),
    ] = "throughput"
    threads: Annotated[int, Field(ge=0, le=1024, description="CPU threads; 0 lets the engine choose.")] = 0
    streams: Annotated[int, Field(ge=0, le=1024, description="Parallel streams; 0: the engine chooses.")] = 0
    cache_dir: Annotated[
        Path | None, Field(description="Where to keep compiled graphs, to start faster; off if unset.")
    ] = None


class Settings(BaseSettings):
    """All settings. Environment names are upper case with the prefix SPARSIGHT_."""

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
    repository: Annotated[Path, Field(description="Folder that holds <name>-<target>/<version>/.")] = Path(
        "model_repository"
    )
    target: Annotated[
        Literal["openvino", "onnx"], Field(description="Which exports to serve; OpenVINO runs both.")
    ] = "openvino"
    default_model: Annotated[
        str | None, Field(description="Model of a request that names none; if unset, the first by name.")
    ] = None
    workers: Annotated[
        int, Field(ge=1, le=256, description="Images decoded and inferred at the same time.")
    ] = 2
    max_inflight: Annotated[
        int, Field(ge=1, le=10_000, description="Requests in flight, waiting ones included; more get a 429.")
    ] = 64
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body, in bytes.")] = 20_000_000
    max_pixels: Annotated[int, Field(ge=1, description="Largest image, in pixels, read from its header.")] = (
        40_000_000
    )
    max_files: Annotated[int, Field(ge=1, le=1000, description="Most files in one form.")] = 16
    body_timeout_s: Annotated[float, Field(gt=0, description="Seconds for a request body to arrive.")] = 30.0
    shutdown_timeout_s: Annotated[
        int, Field(ge=1, description="Seconds for requests in flight to finish after SIGTERM.")
    ] = 30
    openvino: Annotated[OpenVinoSettings, Field(description="See below.")] = OpenVinoSettings()

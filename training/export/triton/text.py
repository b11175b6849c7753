"""The text of config.pbtxt: a model for Triton, the step that suppresses after it, and both as one.

Of an artefact `<name>-<target>` Triton gets three models: the graph under that name, which the gateway calls;
`-nms`, a Python model; and `-detect`, an ensemble of the two for clients that call Triton themselves.
A client has no files of the repository, so the manifests travel in the parameters, beside their sha256.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.errors import ConfigError
from training.export.artifact.stored_manifest import (
    StoredManifest,
    Tensor,
    model_inputs,
    model_outputs,
    routing_outputs,
)

NMS_SUFFIX, DETECT_SUFFIX = "-nms", "-detect"
VERSIONS_SERVED = 2  # the old version answers while callers move to the new one
MOST = 10_000  # of anything that is counted here
LONGEST_WAIT_S = 3600
LATEST = -1  # of a step's model version: the newest that is loaded

Device = Literal["CPU", "NPU"]


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How Triton runs a model."""

    instances: int = 2
    max_queue: int = 64  # requests that may wait; one more is refused at once
    queue_timeout_s: float = 2.0  # longest wait in the queue, unless a request brings its own
    max_batch: int = (
        8  # only of target tensorrt with any batch: the others take as many as they are built for
    )
    batch_delay_s: float = 0.002  # how long a request may wait for others to share its batch
    threads: int | None = None  # of each instance on the CPU; None: the engine decides
    device: Device = "CPU"  # what runs target onnx

    def __post_init__(self) -> None:
        whole = {"instances": self.instances, "max_queue": self.max_queue, "max_batch": self.max_batch}
        if self.threads is not None:
            whole["threads"] = self.threads
        for name, count in whole.items():
            if type(count) is not int or not 1 <= count <= MOST:
                raise ConfigError(f"{name}={count!r} must be a whole number from 1 to {MOST}")
        if not 1e-6 <= self.queue_timeout_s <= LONGEST_WAIT_S:  # 0 would mean: wait forever
            raise ConfigError(
                f"queue_timeout_s={self.queue_timeout_s} is outside a microsecond..{LONGEST_WAIT_S} seconds"
            )
        if not 0 <= self.batch_delay_s <= 1:
            raise ConfigError(f"batch_delay_s={self.batch_delay_s} is outside 0..1 seconds")
        if self.device not in ("CPU", "NPU"):
            raise ConfigError(f"device={self.device!r} is neither 'CPU' nor 'NPU'")


def model_config(manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """config.pbtxt of the graph; the newest manifest describes its tensors.

    Raises:
        ConfigError: max_batch is more than the artefact can do.
    """
    newest = _newest(manifests)
    fixed, on_gpu = fixed_batch(newest), newest.content["target"] == "tensorrt"
    batches = fixed is None
    if batches and options.max_batch > max(newest.content["input"]["batch"]):
        raise ConfigError(
            f"max_batch={options.max_batch}: {newest.model_name} takes at most "
            f"{max(newest.content['input']['batch'])} images at once"
        )
    inputs, outputs = model_inputs(newest), model_outputs(newest)
    # An open batch Triton adds itself; one that a plan fixes has to come with each request.
    sizes = () if fixed is None else (fixed,)
    inputs, outputs = (
        tuple(t._replace(dims=(*sizes, *t.dims[1:])) for t in tensors) for tensors in (inputs, outputs)
    )
    lines = [
        *_heading(newest.model_name, options.max_batch if batches else 0),
        *_engine(newest.content["target"], options),
        *_tensors("input", inputs),
        *_tensors("output", outputs),
        f"version_policy {{ latest {{ num_versions: {_versions_served(manifests)} }} }}",
        *_queue(options, options.max_batch if batches else None),
        *(_warmup(inputs, options.max_batch if batches else 1) if on_gpu else ()),
        *_manifest_parameters(manifests),
    ]
    return "\n".join(lines) + "\n"


def fixed_batch(stored: StoredManifest) -> int | None:
    """How many images a request has to bring; None: Triton makes batches of requests with one."""
    batches = stored.content["input"]["batch"]
    return int(batches[0]) if len(batches) == 1 else None


def nms_config(manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """config.pbtxt of the Python model that turns candidates into detections.

    Its sizes are open, so that it fits an older and a newer version of the graph alike.
    """
    newest = _newest(manifests)
    raw = [t for t in model_outputs(newest) if t.name != "router_probs"]
    inputs = (
        *(t._replace(dims=(1, -1, *t.dims[2:])) for t in raw if t.name not in ("class_scores", "gates")),
        *(t._replace(dims=(1, -1, -1)) for t in raw if t.name in ("class_scores", "gates")),
        *model_inputs(newest)[1:],
        *_thresholds(),
    )
    lines = [
        *_heading(newest.model_name + NMS_SUFFIX, 0),
        'backend: "python"',
        f"instance_group {{ count: {options.instances} kind: KIND_CPU }}",
        *_tensors("input", inputs),
        *_tensors("output", _detections()),
        *_queue(options, None),
        *_manifest_parameters(manifests),
    ]
    return "\n".join(lines) + "\n"


def detect_config(manifests: Sequence[StoredManifest]) -> str:
    """config.pbtxt of the ensemble: one image in, its detections out.

    One image a request even where the graph batches: Triton gathers the graph's step from several requests.
    """
    newest = _newest(manifests)
    name = newest.model_name
    inputs, raw, routing = model_inputs(newest), model_outputs(newest), routing_outputs(newest)
    passed_on = [tensor.name for tensor in routing]
    inner = {t.name: t.name if t.name in passed_on else f"candidate_{t.name}" for t in raw}
    into_nms = {key: value for key, value in inner.items() if key != "router_probs"}
    into_nms |= {tensor.name: tensor.name for tensor in (*inputs[1:], *_thresholds())}
    lines = [
        *_heading(name + DETECT_SUFFIX, 0),
        'platform: "ensemble"',
        *_tensors("input", (*inputs, *_thresholds())),
        *_tensors("output", (*_detections(), *routing)),
        "ensemble_scheduling {",
        *_step(name, {tensor.name: tensor.name for tensor in inputs}, inner),
        *_step(name + NMS_SUFFIX, into_nms, {tensor.name: tensor.name for tensor in _detections()}),
        "}",
        *_manifest_parameters(manifests),
    ]
    return "\n".join(lines) + "\n"


def quoted(text: bytes) -> str:
    """A string of protobuf's text format that means exactly these bytes; a literal for each line of them."""
    return "\n".join(f'    "{_escaped(line)}"' for line in text.splitlines(keepends=True) or [b""])


def _escaped(line: bytes) -> str:
    named = {ord("\n"): r"\n", ord('"'): r"\"", ord("\\"): r"\\"}
    return "".join(named.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}") for b in line)


def _newest(manifests: Sequence[StoredManifest]) -> StoredManifest:
    return max(manifests, key=lambda stored: stored.version)


def _versions_served(manifests: Sequence[StoredManifest]) -> int:
    """One where the newest has other tensors than the one before: a config can describe only one of them."""
    latest = sorted(manifests, key=lambda stored: stored.version)[-VERSIONS_SERVED:]
    shapes = {(fixed_batch(stored), model_inputs(stored), model_outputs(stored)) for stored in latest}
    return VERSIONS_SERVED if len(shapes) == 1 else 1


def _model_name(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['name']}-{manifest['target']}"


def _thresholds() -> tuple[Tensor, ...]:
    return (
        Tensor("conf", "TYPE_FP32", (1,)),
        Tensor("iou", "TYPE_FP32", (1,)),
        Tensor("max_det", "TYPE_INT32", (1,)),
    )


def _detections() -> tuple[Tensor, ...]:
    return (
        Tensor("boxes", "TYPE_FP32", (-1, 4)),
        Tensor("scores", "TYPE_FP32", (-1,)),
        Tensor("class_ids", "TYPE_INT32", (-1,)),
    )


def _heading(name: str, max_batch: int) -> Iterable[str]:
    yield "# Written by `python -m training triton-config`, which writes it anew; do not edit."
    yield f'name: "{name}"'
    yield f"max_batch_size: {max_batch}"


def _engine(target: str, options: TritonOptions) -> Iterable[str]:
    """Backend, file, device and instances."""
    if target == "tensorrt":
        yield 'backend: "tensorrt"'
        yield 'default_model_filename: "model.plan"'
        # Without a kind Triton takes a GPU where there is one; told KIND_GPU it refuses where there is none.
        yield f"instance_group {{ count: {options.instances} }}"
        return
    on_npu = target == "onnx" and options.device == "NPU"
    with_openvino = target == "openvino" or on_npu
    yield f'backend: "{"openvino" if with_openvino else "onnxruntime"}"'
    yield f'default_model_filename: "{"model.xml" if target == "openvino" else "model.onnx"}"'
    yield f"instance_group {{ count: {options.instances} kind: KIND_CPU }}"
    if on_npu:
        yield _parameter("TARGET_DEVICE", "NPU")
    elif with_openvino:
        yield _parameter("PERFORMANCE_HINT", "LATENCY")  # an instance runs one image at a time
        yield _parameter("NUM_STREAMS", "1")
        if options.threads is not None:
            yield _parameter("INFERENCE_NUM_THREADS", str(options.threads))
    elif options.threads is not None:
        yield _parameter("intra_op_thread_count", str(options.threads))


def _tensors(role: str, tensors: Iterable[Tensor]) -> Iterable[str]:
    for name, data_type, dims in tensors:
        yield f'{role} {{ name: "{name}" data_type: {data_type} dims: {list(dims)} }}'


def _queue(options: TritonOptions, max_batch: int | None) -> Iterable[str]:
    """A bounded queue: Triton has it only with dynamic batching, which at max_batch_size 0 gathers none."""
    yield "dynamic_batching {"
    if max_batch is not None:
        preferred = sorted({size for size in (max_batch // 2, max_batch) if size > 1})
        if preferred:
            yield f"  preferred_batch_size: {preferred}"
        yield f"  max_queue_delay_microseconds: {round(options.batch_delay_s * 1e6)}"
    yield "  default_queue_policy {"
    yield "    timeout_action: REJECT"
    yield f"    default_timeout_microseconds: {round(options.queue_timeout_s * 1e6)}"
    yield "    allow_timeout_override: true"
    yield f"    max_queue_size: {options.max_queue}"
    yield "  }"
    yield "}"


def _warmup(inputs: Sequence[Tensor], max_batch: int) -> Iterable[str]:
    """Run zeros before the first caller comes: a plan sets itself up at its first run of each size."""
    for batch in sorted({1, max_batch}):
        yield "model_warmup {"
        yield f'  name: "zeros, batch {batch}"'
        yield f"  batch_size: {batch}"
        for name, data_type, dims in inputs:
            value = f"data_type: {data_type} dims: {list(dims)} zero_data: true"
            yield f'  inputs {{ key: "{name}" value {{ {value} }} }}'
        yield "}"


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Iterable[str]:
    yield "  step {"
    yield f'    model_name: "{model}"'
    yield f"    model_version: {LATEST}"
    for role, names in (("input_map", inputs), ("output_map", outputs)):
        for key, value in names.items():
            yield f'    {role} {{ key: "{key}" value: "{value}" }}'
    yield "  }"


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def _manifest_parameters(manifests: Sequence[StoredManifest]) -> Iterable[str]:
    for stored in sorted(manifests, key=lambda stored: stored.version):
        yield _parameter(f"sha256.{stored.version}", stored.sha256)
        yield f'parameters {{ key: "manifest.{stored.version}" value {{ string_value:'
        yield quoted(stored.text)
        yield "} }"

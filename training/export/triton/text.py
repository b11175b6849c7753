"""Write the config.pbtxt of the three Triton models of an artifact.

`<name>-<target>` is the graph; the service calls it. `<name>-<target>-nms` is a Python model that suppresses
overlapping detections. `<name>-<target>-detect` is an ensemble of these two models, for clients that call
Triton directly. Such a client cannot read the repository, so the parameters of each model hold the manifests
and their sha256. The module `path_text` writes the models that a model with paths has in place of the graph.

All functions take the manifests of every version; the newest manifest describes the tensors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModel
from tritonclient.grpc.model_config_pb2 import ModelQueuePolicy

from training.errors import ConfigError
from training.export.artifact.stored_manifest import StoredManifest
from training.export.contract.tensors import GATES, IMAGES, PATH_PROBS, ROUTER_PROBS, Dtype, Tensor
from training.export.targets.targets import target_of
from training.export.targets.triton_options import TritonOptions

CONFIG_FILE = "config.pbtxt"
NMS_SUFFIX, DETECT_SUFFIX = "-nms", "-detect"
VERSIONS_SERVED = 2  # so the previous version still answers while callers move to the newest
LATEST = -1  # in a step of an ensemble: the newest loaded version
HEADING = "# Written by `python -m training triton-config`, which writes it anew; do not edit.\n"
TYPES: Mapping[str, str] = {
    "u8": "TYPE_UINT8",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "bool": "TYPE_BOOL",
    "bytes": "TYPE_STRING",
}


@dataclass(frozen=True)
class Port:
    """An input or output that the graph lacks; its sizes do not include the batch, and -1 is a free size."""

    name: str
    dtype: Dtype | Literal["bytes"]
    sizes: tuple[int, ...]


# The inputs of -nms apart from the graph's outputs and controls, and its outputs.
THRESHOLDS = (Port("conf", "f32", (1,)), Port("iou", "f32", (1,)), Port("max_det", "i32", (1,)))
DETECTIONS = (Port("boxes", "f32", (-1, 4)), Port("scores", "f32", (-1,)), Port("class_ids", "i32", (-1,)))
FURTHER_DETECTIONS: Mapping[str, Port] = {  # by task
    "segment": Port("masks", "bytes", (-1,)),  # COCO run lengths
    "pose": Port("keypoints", "f32", (-1, -1, 3)),
    "obb": Port("corners", "f32", (-1, 4, 2)),
}


@dataclass(frozen=True)
class Graph:
    """A graph that is a Triton model: the model's name, the graph's file, and its inputs and outputs."""

    name: str
    file: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def model_config(manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """Return the config.pbtxt of the graph, `<name>-<target>`.

    Raises:
        ConfigError: max_batch is larger than the artifact supports.
    """
    newest = newest_of(manifests)
    file = target_of(newest.content["target"]).served(options).file
    graph = Graph(newest.model_name, file, newest.inputs, newest.outputs)
    return as_text(graph_model(graph, manifests, options), manifests)


def graph_model(graph: Graph, manifests: Sequence[StoredManifest], options: TritonOptions) -> TritonModel:
    """Return the configuration of a Triton model that runs one graph, without its manifests.

    Raises:
        ConfigError: max_batch is larger than the artifact supports.
    """
    newest = newest_of(manifests)
    fixed, target = fixed_batch(newest), target_of(newest.content["target"])
    served = target.served(options)
    model = TritonModel(
        name=graph.name,
        backend=served.backend,
        default_model_filename=graph.file,
        max_batch_size=largest_batch(newest, options),
    )
    model.instance_group.add(count=options.instances, kind=served.kind)
    for parameter, value in served.parameters.items():
        model.parameters[parameter].string_value = value
    # Triton adds an open batch itself. If a plan fixes the batch, each request has to bring all of it.
    sizes = () if fixed is None else (fixed,)
    add_ports(model.input, graph.inputs, *sizes)
    add_ports(model.output, graph.outputs, *sizes)
    model.version_policy.latest.num_versions = versions_served(manifests)
    bound_queue(model, options)
    for batch in sorted({1, model.max_batch_size or 1}) if target.warmed_up else ():
        warmup = model.model_warmup.add(name=f"zeros, batch {batch}", batch_size=batch)
        for port in model.input:
            zeros = warmup.inputs[port.name]
            zeros.data_type, zeros.zero_data = port.data_type, True
            zeros.dims.extend(port.dims)
    return model


def largest_batch(stored: StoredManifest, options: TritonOptions) -> int:
    """Return Triton's max_batch_size for an artifact; 0 if its graphs have a fixed batch.

    Raises:
        ConfigError: max_batch is larger than the artifact supports.
    """
    most = max(stored.content["batch"])
    if fixed_batch(stored) is not None:
        return 0
    if options.max_batch > most:
        raise ConfigError(
            f"max_batch={options.max_batch}: {stored.model_name} takes at most {most} images at once"
        )
    return options.max_batch


def fixed_batch(stored: StoredManifest) -> int | None:
    """Return the only batch size that the graph takes; None if it takes several batch sizes."""
    batches = stored.content["batch"]
    return int(batches[0]) if len(batches) == 1 else None


def nms_config(manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """Return the config.pbtxt of `<name>-<target>-nms`, which turns candidates into detections."""
    newest = newest_of(manifests)
    model = TritonModel(name=newest.model_name + NMS_SUFFIX, backend="python")
    model.instance_group.add(count=options.instances, kind="KIND_CPU")
    for tensor in _read_by_nms(newest):
        # Open sizes, so that one configuration fits older and newer versions of the graph.
        sizes = (-1, 4) if tensor.role == "boxes_xyxy" else (-1,) * len(tensor.sizes)
        add_ports(model.input, [replace(tensor, sizes=sizes)], 1)
    add_ports(model.input, _controls(newest), 1)
    add_ports(model.input, THRESHOLDS)
    add_ports(model.output, _detections(newest))
    bound_queue(model, options)
    return as_text(model, manifests)


def detect_config(manifests: Sequence[StoredManifest]) -> str:
    """Return the config.pbtxt of `<name>-<target>-detect`, which takes an image and returns detections.

    A request holds one image even if the graph takes batches. Triton joins the images of several requests
    into one batch when it runs the graph.
    """
    newest = newest_of(manifests)
    name = newest.model_name
    routing = [tensor for tensor in newest.outputs if tensor.role in (GATES, ROUTER_PROBS, PATH_PROBS)]
    inner = {each.name: each.name if each in routing else f"candidate_{each.name}" for each in newest.outputs}
    model = TritonModel(name=name + DETECT_SUFFIX, platform="ensemble")
    add_ports(model.input, newest.inputs, 1)
    add_ports(model.input, THRESHOLDS)
    add_ports(model.output, _detections(newest))
    add_ports(model.output, routing, 1)
    into_nms = {each.name: inner[each.name] for each in _read_by_nms(newest)}
    into_nms |= _same((*_controls(newest), *THRESHOLDS))
    for step, inputs, outputs in (
        (name, _same(newest.inputs), inner),
        (name + NMS_SUFFIX, into_nms, _same(_detections(newest))),
    ):
        model.ensemble_scheduling.step.add(
            model_name=step, model_version=LATEST, input_map=inputs, output_map=outputs
        )
    return as_text(model, manifests)


def newest_of(manifests: Sequence[StoredManifest]) -> StoredManifest:
    """Return the manifest of the highest version."""
    return max(manifests, key=lambda stored: stored.version)


def versions_served(manifests: Sequence[StoredManifest]) -> int:
    """Return how many of the newest versions Triton serves: VERSIONS_SERVED, or 1 if their tensors differ.

    A configuration states one shape of each tensor, which must fit all versions. That of a graph of a path
    also states the precision.
    """
    latest = sorted(manifests, key=lambda stored: stored.version)[-VERSIONS_SERVED:]
    shapes = {(fixed_batch(stored), stored.inputs, stored.outputs, _stated(stored)) for stored in latest}
    return VERSIONS_SERVED if len(shapes) == 1 else 1


def _stated(stored: StoredManifest) -> str | None:
    return str(stored.content["precision"]) if stored.has_paths else None


def _controls(stored: StoredManifest) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in stored.inputs if tensor.role != IMAGES)


def _read_by_nms(stored: StoredManifest) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in stored.outputs if tensor.role not in (ROUTER_PROBS, PATH_PROBS))


def _detections(stored: StoredManifest) -> tuple[Port, ...]:
    further = FURTHER_DETECTIONS.get(stored.content["task"])
    return DETECTIONS if further is None else (*DETECTIONS, further)


def _same(tensors: Iterable[Tensor | Port]) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in tensors}


def add_ports(ports: Any, tensors: Iterable[Tensor | Port], *batch: int) -> None:
    """Add inputs or outputs to a configuration; `batch` is their first size if Triton does not add it."""
    for tensor in tensors:
        ports.add(name=tensor.name, data_type=TYPES[tensor.dtype], dims=(*batch, *tensor.sizes))


def bound_queue(model: TritonModel, options: TritonOptions) -> None:
    """Limit the queue of waiting requests.

    Triton has this limit only as an option of dynamic batching, so dynamic batching is always switched on.
    If max_batch_size is 0, dynamic batching limits the queue, but joins no requests into batches.
    """
    batching = model.dynamic_batching
    if largest := model.max_batch_size:
        preferred = sorted({size for size in (largest // 2, largest) if size > 1})
        batching.preferred_batch_size.extend(preferred)
        batching.max_queue_delay_microseconds = round(options.batch_delay_s * 1e6)
    policy = batching.default_queue_policy
    policy.timeout_action = ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = round(options.queue_timeout_s * 1e6)
    policy.allow_timeout_override = True
    policy.max_queue_size = options.max_queue


def as_text(model: TritonModel, manifests: Sequence[StoredManifest]) -> str:
    """Return the configuration as ASCII, with the bytes and the sha256 of each manifest as parameters."""
    for stored in manifests:
        model.parameters[f"manifest.{stored.version}"].string_value = stored.text.decode("utf-8")
        model.parameters[f"sha256.{stored.version}"].string_value = stored.sha256
    text: str = text_format.MessageToString(model, as_utf8=False, use_short_repeated_primitives=True)
    return HEADING + text

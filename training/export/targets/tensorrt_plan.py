"""Build TensorRT plans for this machine's GPU, and tell how to build them on another machine.

A file beside each plan describes the GPU, the TensorRT version and the graph for which the plan was built.
The script deploy/docker/build_plans.sh builds the same plans without this package. A test checks that script
and package build the same plans.
"""

import importlib
import json
import logging
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

from training.errors import ExportError
from training.export.artifact.stored_manifest import StoredManifest
from training.export.contract.tensors import IMAGES
from training.files import sha256_of, write_atomically

log = logging.getLogger(__name__)

PLAN_FILE = "model.plan"
PLAN, DESCRIPTION = ".plan", ".plan.json"  # endings of a graph's files, in place of .onnx


def graph_files(version_folder: Path, stored: StoredManifest) -> list[Path]:
    """Return the graphs of an artifact: one, or those of the router and the routes of a model with paths."""
    if not stored.has_paths:
        return [version_folder / "model.onnx"]
    return [version_folder / each["file"] for each in stored.content["graphs"]]


def plan_shapes(stored: StoredManifest) -> dict[str, list[tuple[int, ...]]]:
    """Return the smallest, the usual and the largest shape of each input; the usual shape is a full batch.

    The graphs of a model with paths take only the images. For a fixed batch, the result is empty, because the
    graph itself states the shapes, and trtexec accepts no others.
    """
    batches = stored.content["batch"]
    if len(batches) == 1:
        return {}
    sizes = (min(batches), max(batches), max(batches))
    taken = [each for each in stored.inputs if each.role == IMAGES or not stored.has_paths]
    return {tensor.name: [(batch, *tensor.sizes) for batch in sizes] for tensor in taken}


def plan_arguments(stored: StoredManifest, graph: Path) -> list[str]:
    """Return the arguments of TensorRT's command trtexec for the shapes and the precision of a graph."""
    arguments, shapes = [], plan_shapes(stored)
    for index, option in enumerate(("minShapes", "optShapes", "maxShapes") if shapes else ()):
        sizes = (f"{name}:{'x'.join(map(str, each[index]))}" for name, each in shapes.items())
        arguments.append(f"--{option}={','.join(sizes)}")
    arguments.append("--stronglyTyped")  # every tensor keeps the type that it has in model.onnx
    if _in_float32(stored, graph):
        # With TF32, the GPU multiplies with 10 bits of mantissa, which changes the chosen experts.
        arguments.append("--noTF32")
    return arguments


def _in_float32(stored: StoredManifest, graph: Path) -> bool:
    """Return whether a graph is in float32, as the router of paths is in every precision."""
    router = (stored.content.get("paths") or {}).get("router")
    return stored.content["precision"] == "f32" or graph.stem == router


def how_to_build_the_plan(version_folder: Path) -> str:
    """Return instructions for building the plans of an artifact on the machine with the GPU."""
    stored = StoredManifest.of(version_folder)
    graphs = graph_files(version_folder, stored)
    first = graphs[0].stem
    needed = f"{first}{PLAN} is beside {first}.onnx" if len(graphs) == 1 else "each graph has its plan"
    commands = [
        f"trtexec --onnx={each.name} --saveEngine={each.stem}{PLAN} {' '.join(plan_arguments(stored, each))}"
        for each in graphs
    ]
    return (
        f"Triton cannot load {version_folder} until {needed}, built on the\n"
        "GPU and by the TensorRT that will run it: with deploy/docker/build_plans.sh, or by hand:\n"
        f"  cd {version_folder} && {' && '.join(commands)}"
    )


def offer_plan(version_folder: Path) -> None:
    """Build the plan of every graph; if this machine cannot build plans, log what is missing and what to do.

    Raises:
        ExportError: TensorRT cannot build the plan; the artifact is unchanged.
    """
    try:
        tensorrt, gpu = _tensorrt(), gpu_names()
    except _NotHereError as lack:
        log.info(f"No plan was built: {lack}.\n{how_to_build_the_plan(version_folder)}")
        return
    for graph in graph_files(version_folder, StoredManifest.of(version_folder)):
        build_plan(graph, tensorrt, gpu)


def build_plan(graph: Path, tensorrt: ModuleType, gpu: str) -> None:
    """Write the plan of a graph, and then the plan's description, beside it: model.plan beside model.onnx.

    Write nothing if both files exist, and the description still matches the graph, the plan, the GPU, the
    version of TensorRT and the arguments.

    Args:
        graph: an ONNX file in the folder of an artifact of target tensorrt.
        tensorrt: the imported package TensorRT, or TensorRT-RTX, which has the same builder.
        gpu: name of the GPU that the plan is for.

    Raises:
        ExportError: TensorRT cannot read or build the graph; the message holds TensorRT's reason.
    """
    stored = StoredManifest.of(graph.parent)
    plan, described = graph.with_suffix(PLAN), graph.with_suffix(DESCRIPTION)

    def description() -> bytes:
        facts = {
            "gpu": gpu,
            "tensorrt": version_number(tensorrt.__version__),
            "onnx_sha256": sha256_of(graph),
            "plan_sha256": sha256_of(plan),
            "arguments": plan_arguments(stored, graph),
        }
        return (json.dumps(facts, indent=1) + "\n").encode()

    if plan.exists() and described.exists() and described.read_bytes() == description():
        log.info(f"{plan} fits")
        return
    log.info(f"building {plan} for {gpu}, TensorRT {tensorrt.__version__}: this takes minutes")
    write_atomically(plan, _serialized(tensorrt, graph, stored))
    write_atomically(described, description())  # written last, as a plan without description is built anew
    log.info(f"built {plan}")


def gpu_names() -> str:
    """Return the names of the GPU models in this machine, sorted and joined by +."""
    command = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise _NotHereError("nvidia-smi finds no GPU on this machine") from error
    if not listed.strip():
        raise _NotHereError("nvidia-smi names no GPU")
    return "+".join(sorted(set(listed.splitlines())))


def version_number(version: str) -> str:
    """Return a TensorRT version as the number that trtexec writes, such as 101303 for 10.13.3.9."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    return str(major * 10_000 + minor * 100 + patch)


class _NotHereError(Exception):
    """This machine cannot build plans; the message says what is missing."""


def _tensorrt() -> ModuleType:
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: its libraries are missing
        raise _NotHereError(
            "the Python package tensorrt is not installed; the extra [gpu] brings it"
        ) from error


def _serialized(tensorrt: ModuleType, graph: Path, stored: StoredManifest) -> Any:
    """Return the bytes of the plan."""
    log = tensorrt.Logger(tensorrt.Logger.ERROR)
    try:
        builder = tensorrt.Builder(log)
    except Exception as error:  # of the binding's own types, for example if the driver is too old
        raise ExportError(f"TensorRT cannot build plans here: {error}. No plan was written.") from error
    typed = tensorrt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(graph.read_bytes()):
        said = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read {graph}: {said}. No plan was written.")
    config = builder.create_builder_config()
    if _in_float32(stored, graph):
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    if shapes := plan_shapes(stored):
        profile = builder.create_optimization_profile()
        for name, sizes in shapes.items():
            profile.set_shape(name, *sizes)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT cannot build {graph}; what it says is above. No plan was written.")
    return plan

"""Plans of TensorRT: what they are built from, and the one of this machine's GPU, where it can build one.

Beside a plan lies what says where it fits. deploy/docker/build_plans.sh does the same where this package is
not installed; a test holds the two together.
"""

import importlib
import json
import logging
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from training.errors import ExportError
from training.export.artifact.stored_manifest import StoredManifest
from training.export.contract.tensors import Tensor
from training.files import sha256_of, write_atomically

log = logging.getLogger(__name__)

PLAN_FILE = "model.plan"
DESCRIPTION_FILE = "model.plan.json"
TIMINGS = Path("~/.cache/sparsight")  # how long the kernels took that were tried; saves minutes the next time


def plan_shapes(stored: StoredManifest) -> dict[str, list[tuple[int, ...]]]:
    """Return the least, the usual and the largest size of each input: full batches are when speed counts.

    Nothing where the batch is fixed: sizes are in the graph then, and trtexec refuses to be told any.
    """
    batches = stored.content["batch"]
    if len(batches) == 1:
        return {}
    sizes = (min(batches), max(batches), max(batches))
    inputs = map(Tensor.of, stored.content["inputs"])
    return {tensor.name: [(batch, *tensor.sizes) for batch in sizes] for tensor in inputs}


def plan_arguments(stored: StoredManifest) -> list[str]:
    """Return trtexec's arguments that follow from a manifest: shapes and precision."""
    arguments, shapes = [], plan_shapes(stored)
    for index, option in enumerate(("minShapes", "optShapes", "maxShapes") if shapes else ()):
        sizes = (f"{name}:{'x'.join(map(str, each[index]))}" for name, each in shapes.items())
        arguments.append(f"--{option}={','.join(sizes)}")
    arguments.append("--stronglyTyped")  # every tensor keeps the type that it has in model.onnx
    if stored.content["precision"] == "f32":
        # With TF32 the GPU multiplies with 10 bits of mantissa, which moves experts.
        arguments.append("--noTF32")
    return arguments


def how_to_build_the_plan(version_folder: Path) -> str:
    """Return what to tell the person who exported for TensorRT on a machine that cannot build the plan."""
    stored = StoredManifest(int(version_folder.name), (version_folder / "manifest.json").read_bytes())
    return (
        f"Triton cannot load {version_folder} until {PLAN_FILE} lies beside model.onnx, built on the\n"
        "GPU and by the TensorRT that will run it: with deploy/docker/build_plans.sh, or by hand:\n"
        f"  cd {version_folder} && trtexec --onnx=model.onnx --saveEngine={PLAN_FILE} "
        f"{' '.join(plan_arguments(stored))}"
    )


def offer_plan(version_folder: Path) -> None:
    """Build the plan of an artifact if this machine can; otherwise say what it lacks and what to do.

    Raises:
        ExportError: TensorRT cannot build it; the artifact stays as it was.
    """
    try:
        tensorrt, gpu = _tensorrt(), gpu_names()
    except _NotHereError as lack:
        log.info(f"No plan was built: {lack}.\n{how_to_build_the_plan(version_folder)}")
        return
    build_plan(version_folder, tensorrt, gpu)


def build_plan(
    version_folder: Path,
    tensorrt: ModuleType,
    gpu: str,
    *,
    timings: Path = TIMINGS,
) -> None:
    """Write model.plan and then its description beside model.onnx, unless both are there and fit.

    Args:
        version_folder: of an artifact of target tensorrt.
        tensorrt: the package, or TensorRT-RTX, which has the same builder.
        gpu: for whose name the plan is.
        timings: folder for the timing cache.

    Raises:
        ExportError: the graph cannot be read or built; names what the builder said.
    """
    stored = StoredManifest(int(version_folder.name), (version_folder / "manifest.json").read_bytes())
    onnx, plan = version_folder / "model.onnx", version_folder / PLAN_FILE
    described = version_folder / DESCRIPTION_FILE
    made_for = {"gpu": gpu, "tensorrt": version_number(tensorrt.__version__)}

    def description() -> bytes:
        files = {"onnx_sha256": sha256_of(onnx), "plan_sha256": sha256_of(plan)}
        facts = {**made_for, **files, "arguments": plan_arguments(stored)}
        return (json.dumps(facts, indent=1) + "\n").encode()

    if plan.exists() and described.exists() and described.read_bytes() == description():
        log.info(f"{plan} fits")
        return
    log.info(f"building {plan} for {gpu}, TensorRT {tensorrt.__version__}: this takes minutes")
    cache = _home(timings) / f"{gpu}-{made_for['tensorrt']}.timings".replace(" ", "-").replace("/", "-")
    serialized, learned = _serialized(tensorrt, onnx, stored, cache)
    write_atomically(plan, serialized)
    write_atomically(described, description())  # last: a plan that it does not name is built again
    log.info(f"built {plan}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, learned)
    except OSError as error:
        log.info(f"the timings of its kernels were not kept, the next plan takes as long: {error}")


def _home(timings: Path) -> Path:
    """Return the folder, or where there is no home, one that lasts as long as the machine is up."""
    try:
        return timings.expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "sparsight"


def gpu_names() -> str:
    """Return the kinds of GPU in this machine, joined by +, as build_plans.sh names them."""
    command = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise _NotHereError("nvidia-smi finds no GPU on this machine") from error
    if not listed.strip():
        raise _NotHereError("nvidia-smi names no GPU")
    return "+".join(sorted(set(listed.splitlines())))


def version_number(version: str) -> str:
    """Return a version as trtexec writes it: 10.13.3.9 is 101303."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    return str(major * 10_000 + minor * 100 + patch)


class _NotHereError(Exception):
    """What this machine lacks to build a plan."""


def _tensorrt() -> ModuleType:
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: it is there, and its libraries are not
        raise _NotHereError(
            "the Python package tensorrt is not installed; the extra [gpu] brings it"
        ) from error


def _serialized(tensorrt: ModuleType, onnx: Path, stored: StoredManifest, cache: Path) -> tuple[Any, Any]:
    """Return the bytes of the plan, and of the timing cache."""
    log = tensorrt.Logger(tensorrt.Logger.ERROR)
    try:
        builder = tensorrt.Builder(log)
    except Exception as error:  # the binding's own types: such as a driver that is too old
        raise ExportError(f"TensorRT cannot build plans here: {error}. No plan was written.") from error
    typed = tensorrt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(onnx.read_bytes()):
        said = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read {onnx}: {said}. No plan was written.")
    config = builder.create_builder_config()
    if stored.content["precision"] == "f32":
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    if shapes := plan_shapes(stored):
        profile = builder.create_optimization_profile()
        for name, sizes in shapes.items():
            profile.set_shape(name, *sizes)
        config.add_optimization_profile(profile)
    timings = config.create_timing_cache(cache.read_bytes() if cache.exists() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT cannot build {onnx}; what it says is above. No plan was written.")
    return plan, config.get_timing_cache().serialize()

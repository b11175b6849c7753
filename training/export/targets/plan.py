"""What a plan of TensorRT is built from, and what is written beside it, so that it is known where it fits.

deploy/docker/build_plans.sh does the same where this package is not installed; a test holds the two together.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from training.export.artifact.stored_manifest import StoredManifest
from training.export.contract.tensors import Tensor

PLAN_FILE = "model.plan"
DESCRIPTION_FILE = "model.plan.json"


def plan_shapes(stored: StoredManifest) -> dict[str, str]:
    """Return trtexec's options for the sizes of inputs; tuned for full batches, which is when speed counts.

    Nothing where the batch is fixed: sizes are in the graph then, and trtexec refuses to be told any.
    """
    batches = stored.content["batch"]
    if len(batches) == 1:
        return {}
    sizes = {"minShapes": min(batches), "optShapes": max(batches), "maxShapes": max(batches)}
    return {
        option: ",".join(
            f"{tensor.name}:{'x'.join(str(size) for size in (batch, *tensor.sizes))}"
            for tensor in map(Tensor.of, stored.content["inputs"])
        )
        for option, batch in sizes.items()
    }


def plan_arguments(stored: StoredManifest) -> list[str]:
    """Return trtexec's arguments that follow from a manifest: shapes and precision."""
    arguments = [f"--{option}={value}" for option, value in plan_shapes(stored).items()]
    arguments.append("--stronglyTyped")  # every tensor keeps the type that it has in model.onnx
    if stored.content["precision"] == "f32":
        # With TF32 the GPU multiplies with 10 bits of mantissa, which moves experts.
        arguments.append("--noTF32")
    return arguments


def plan_description(machine: tuple[str, str], sha256s: tuple[str, str], arguments: Sequence[str]) -> str:
    """Return the text of model.plan.json.

    Args:
        machine: names of the GPUs and version of TensorRT, both as build_plans.sh finds them.
        sha256s: of model.onnx and of the plan.
    """
    facts = {"gpu": machine[0], "tensorrt": machine[1], "onnx_sha256": sha256s[0], "plan_sha256": sha256s[1]}
    return json.dumps({**facts, "arguments": list(arguments)}, indent=1) + "\n"


def how_to_build_the_plan(version_folder: Path) -> str:
    """Return what to tell the person who exported for TensorRT on a machine that cannot build the plan."""
    stored = StoredManifest(int(version_folder.name), (version_folder / "manifest.json").read_bytes())
    return (
        f"Triton cannot load {version_folder} until {PLAN_FILE} lies beside model.onnx, built on the\n"
        "GPU and by the TensorRT that will run it: with deploy/docker/build_plans.sh, or by hand:\n"
        f"  cd {version_folder} && trtexec --onnx=model.onnx --saveEngine={PLAN_FILE} "
        f"{' '.join(plan_arguments(stored))}"
    )

"""How an artefact of target tensorrt becomes a plan: on the GPU that will run it."""

from pathlib import Path

from training.export.stored_manifest import StoredManifest, model_inputs

PLAN_FILE = "model.plan"


def plan_shapes(stored: StoredManifest) -> dict[str, str]:
    """trtexec's options for the sizes of every input; tuned for full batches, which is when speed counts."""
    batches = stored.content["input"]["batch"]
    sizes = {"minShapes": min(batches), "optShapes": max(batches), "maxShapes": max(batches)}
    return {
        option: ",".join(
            f"{tensor.name}:{'x'.join(str(size) for size in (batch, *tensor.dims[1:]))}"
            for tensor in model_inputs(stored)
        )
        for option, batch in sizes.items()
    }


def how_to_build_the_plan(version_folder: Path) -> str:
    """What to tell the person who exported for TensorRT."""
    stored = StoredManifest(int(version_folder.name), (version_folder / "manifest.json").read_bytes())
    shapes = " ".join(f"--{option}={value}" for option, value in plan_shapes(stored).items())
    # Without --noTF32 the GPU multiplies with 10 bits of mantissa, which moves experts.
    return (
        f"Triton cannot load {version_folder} until {PLAN_FILE} lies beside model.onnx, built on the\n"
        "GPU and by the TensorRT that will run it: with deploy/docker/build_plans.sh, or by hand:\n"
        f"  cd {version_folder} && trtexec --onnx=model.onnx --saveEngine={PLAN_FILE} "
        f"--stronglyTyped --noTF32 {shapes}"
    )

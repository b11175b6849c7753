"""Open a checkpoint or an exported artifact, to run it on one image at a time."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.config import Resize, TaskName
from training.errors import CheckpointError, ConfigError
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.objects.kinds import kind_for
from training.export.artifact.paths_entry import routes_of_entry
from training.export.artifact.stored_manifest import StoredManifest, check_manifest
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import (
    GATES,
    PATH_PROBS,
    ROUTER_PROBS,
    Arrays,
    GraphContract,
    Input,
    Output,
)
from training.export.graph.export_graph import graph_contract, stack_routings
from training.export.proof.engine import Runner
from training.export.proof.openvino_engine import cpu_capabilities
from training.export.targets.paths import open_paths
from training.export.targets.targets import target_of
from training.export.tasks.tasks import export_task
from training.files import sha256_of
from training.models.mixture.routing import RoutingControls
from training.skeleton import Skeleton
from training.trainer.checkpoint import load_model
from training.trainer.distributed import ALONE

MANIFEST_FILE = "manifest.json"
# Runs one model input (H, W, 3) with these controls, and returns the outputs by role, in a batch of 1.
Run = Callable[[NDArray[np.uint8], RoutingControls], Arrays]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A loaded model: its input size, classes, experts and defaults, and the function that runs it."""

    name: str
    task: TaskName
    class_names: tuple[str, ...]
    input_hw: tuple[int, int]
    resize: Resize
    experts: Mapping[str, int]  # number of experts by mixture layer, in the order of the gates
    top_ks: Sequence[int]  # allowed values; empty without mixture layers
    controls: RoutingControls  # used if a call sets none
    defaults: Mapping[str, float]  # top of a classifier; conf, iou and max_det of other models
    run: Run
    kind: ObjectKind | None  # of the objects that the model finds; None: of a classifier
    keypoint_names: tuple[str, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a drawing connects


def open_checkpoint(path: Path, device: str | None) -> LoadedModel:
    """Load a checkpoint, to run it in float32 on a device; each expert runs only for images routed to it.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
        ConfigError: this machine has no such device.
    """
    model, _ = load_model(path)
    config = model.config
    where = (ALONE.on(device) if device else ALONE).device()
    model.to(where)
    task, spec = export_task(config), GraphSpec("dense", "graph")
    settings = task.settings(spec)
    roles = [each.role for each in graph_contract(config, spec).outputs]

    @torch.inference_mode()
    def run(canvas: NDArray[np.uint8], controls: RoutingControls) -> Arrays:
        images = torch.from_numpy(canvas[None]).to(where)
        predictions = model(images, controls, dispatch="grouped")
        outputs = task.outputs(model, predictions, spec)
        if predictions.routings:
            outputs += stack_routings(predictions.routings)
        if predictions.path is not None:
            outputs += (predictions.path.probs,)
        return {role: each.numpy(force=True) for role, each in zip(roles, outputs, strict=True)}

    return LoadedModel(
        name=f"{config.variant} of {path}",
        task=config.task,
        class_names=config.class_names,
        input_hw=config.input_hw,
        resize=model.resize,
        experts={layer: len(each.experts) for layer, each in model.mixture_layers().items()},
        top_ks=spec.top_ks(config) if config.mixtures else (),
        controls=model.default_controls(),
        defaults=settings["defaults"],
        run=run,
        **_objects(config.task, settings),
    )


def open_artifact(folder: Path, device: str | None) -> LoadedModel:
    """Load an artifact, to run it on the CPU.

    The artifact runs in the engine and precision in which the exporter tested its graph against the
    checkpoint.

    Args:
        folder: the folder of one version, which holds manifest.json.

    Raises:
        ConfigError: `device` is neither None nor the CPU, or this machine cannot run the artifact.
        CheckpointError: a file is missing or damaged.
    """
    if device not in (None, "cpu"):
        raise ConfigError(f"an exported artifact runs on the CPU here: load its checkpoint on {device}")
    manifest = _manifest(folder)
    _check_files(folder, manifest)
    inputs = {row["name"]: row for row in manifest["inputs"]}
    contract = GraphContract(
        tuple(manifest["batch"]),
        tuple(Input.of(row) for row in inputs.values()),  # type: ignore[misc]  # of() keeps the class
        tuple(Output.of(row) for row in manifest["outputs"]),  # type: ignore[misc]
    )
    runner = _runner(folder, manifest)
    defaults = {name: row["default"] for name, row in inputs.items() if row["role"] == "control"}
    images = next(row for row in inputs.values() if row["role"] == "images")

    def run(canvas: NDArray[np.uint8], controls: RoutingControls) -> Arrays:
        # A graph may have controls that RoutingControls lacks; those keep their defaults.
        values: Any = SimpleNamespace(**{**defaults, **controls.settings})
        return contract.by_role(runner.run(contract.feed([canvas], [values])), slice(0, 1))

    return LoadedModel(
        name="{name} version {version}, {target}, {precision}".format_map(manifest),
        task=manifest["task"],
        class_names=tuple(manifest["class_names"]),
        input_hw=tuple(images["dims"][1:3]),
        resize=images["resize"]["mode"],
        experts={row["layer"]: row["num_experts"] for row in manifest["mixture"]},
        top_ks=inputs["top_k"]["allowed"] if "top_k" in inputs else (),
        controls=RoutingControls(defaults.get("top_k", 0), defaults.get("weight_threshold", 0.0)),
        defaults=manifest["task_settings"]["defaults"],
        run=run,
        **_objects(manifest["task"], manifest["task_settings"]),
    )


def _runner(folder: Path, manifest: Mapping[str, Any]) -> Runner:
    """Return the artifact's graph in its engine; of a model with paths, all of its graphs."""
    target, precision = target_of(manifest["target"]), manifest["precision"]
    graphs = manifest["graphs"]
    files = {each["name"]: folder / each["file"] for each in graphs}
    weights = {each["name"]: folder / each["weights"] for each in graphs if each.get("weights")}
    if entry := manifest.get("paths"):
        return open_paths(target, files[entry["router"]], routes_of_entry(entry), precision, weights)
    name, file = next(iter(files.items()))
    return target.open(file, precision, weights.get(name))


def _objects(task: TaskName, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind of objects, and their keypoints, from the task_settings of a manifest."""
    if task == "classify":
        return {"kind": None}
    names = tuple(settings.get("keypoints", ()))
    edges = tuple((one, other) for one, other in settings.get("skeleton", ()))
    # Mirrored keypoints and spreads of correct labels matter only where there are labels.
    flip_ids = tuple(range(len(names)))
    skeleton = Skeleton(names=names, flip_ids=flip_ids, edges=edges) if task == "pose" else None
    return {"kind": kind_for(task, skeleton), "keypoint_names": names, "edges": edges}


def routings(outputs: Arrays, experts: Mapping[str, int]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return the gates and the router probabilities of each layer, (E,) each, for one image."""
    if not experts or GATES not in outputs:
        return {}
    gates, probs = outputs[GATES][0], outputs[ROUTER_PROBS][0]
    return {
        layer: (gates[row, :count], probs[row, :count]) for row, (layer, count) in enumerate(experts.items())
    }


def path_of(outputs: Arrays) -> tuple[int, float] | None:
    """Return the path of one image and its probability; None without paths. In a tie, the first path."""
    if PATH_PROBS not in outputs:
        return None
    probs = outputs[PATH_PROBS][0]
    path = int(probs.argmax())
    return path, float(probs[path])


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no {MANIFEST_FILE}; name the folder of one version, as NAME-TARGET/1"
            )
        stored = StoredManifest(0, path.read_bytes())
        check_manifest(stored.document, str(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); export the model again") from error
    manifest = stored.content
    if manifest["target"] == "tensorrt":
        raise ConfigError(
            f"{folder} is for TensorRT, which runs under Triton on an NVIDIA GPU: "
            "load the checkpoint with device cuda instead"
        )
    if manifest["precision"] == "bf16" and "BF16" not in cpu_capabilities():
        raise ConfigError(f"{folder} is in bf16, which this CPU does not compute in: load its checkpoint")
    return manifest


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a file is missing, or if its contents have changed since the export."""
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; copy the whole folder, or export the model again")
        if sha256_of(path) != digest:
            raise CheckpointError(f"{path} is not the file that was exported; copy it again, or export again")

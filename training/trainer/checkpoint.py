"""Checkpoints: tensors in safetensors, everything else as JSON in its header. No pickle.

model.safetensors   the averaged weights and the model's configuration: what is evaluated and exported
best.safetensors    the same, of the best evaluation: with the highest mAP50-95, or top1 of a classifier
last.safetensors    all that is needed to resume training exactly where it stopped
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.config import TrainConfig
from training.config_json import model_from_json, to_json, train_from_json
from training.errors import CheckpointError, ConfigError
from training.files import written_beside
from training.models.detector import Detector
from training.models.network import Network
from training.tasks.choose import task_named

SUFFIX = ".safetensors"
MODEL_FILE = "model.safetensors"
BEST_FILE = "best.safetensors"
STATE_FILE = "last.safetensors"
CONFIG_FILE = "config.json"  # beside them: the run's configuration, for people and for `inspect`
_MODEL_KIND = "sparsight-model-1"
_STATE_KIND = "sparsight-training-1"


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    epoch: int  # epochs finished
    batch: int  # batches finished in the epoch after these
    step: int  # optimizer steps taken


@dataclass(frozen=True)
class Best:
    """The best evaluation of a run so far."""

    score: float | None = None  # None: no evaluation yet
    epoch: int = 0  # the epoch before this evaluation
    stale: int = 0  # evaluations since then


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that no reader sees a partial file."""
    with written_beside(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        partial.chmod(0o644)  # the library lets only the owner read it; a server runs as another user


def check_output(path: Path) -> None:
    """Check before long work that a checkpoint can be written; it must not replace a file.

    Raises:
        CheckpointError: the path has another suffix, the file exists, or its folder does not exist.
    """
    if path.suffix.lower() != SUFFIX:
        raise CheckpointError(f"--output {path}: what is written is a {SUFFIX} file; name it so")
    if path.exists():
        raise CheckpointError(f"{path} is there already; remove it, or say another --output")
    if not path.parent.is_dir():
        raise CheckpointError(f"no folder {path.parent} to write into")


def save_model(
    path: Path, model: Network, provenance: dict[str, str], *, stored: Mapping[str, Tensor] | None = None
) -> None:
    """Write the weights and the configuration of a model.

    Args:
        provenance: origin of the weights.
        stored: weights to write in another precision than the model has; load_model converts them back to
            float32.
    """
    metadata = {"kind": _MODEL_KIND, "model": to_json(model.config), "provenance": json.dumps(provenance)}
    write_tensors(path, {**model.state_dict(), **(stored or {})}, metadata)


def load_model(path: Path) -> tuple[Network, dict[str, str]]:
    """Load a network of any task, in evaluation mode, and its provenance.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind, or its tensors do not fit.
    """
    metadata, tensors = _read(path, _MODEL_KIND)
    try:
        config = model_from_json(metadata["model"])
        model = task_named(config.task).build(config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _load_strictly(path, model, tensors)
    return model.eval(), json.loads(metadata["provenance"])


def load_detector(path: Path) -> tuple[Detector, dict[str, str]]:
    """Load a detector and its provenance as load_model does, for code that only supports detectors.

    Raises:
        CheckpointError: the same as of load_model, or the network is for another task.
    """
    model, provenance = load_model(path)
    if not isinstance(model, Detector):
        raise CheckpointError(f"{path} is for the task {model.config.task}, and this needs a detector")
    return model, provenance


def load_provenance(path: Path) -> dict[str, str]:
    """Load the provenance of a model's weights, without building the model.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    metadata, _ = _read(path, _MODEL_KIND)
    return dict(json.loads(metadata["provenance"]))


def load_matching_weights(path: Path, model: Network) -> list[str]:
    """Load those weights of another model whose names and shapes agree.

    Returns:
        The names of the model's tensors that were not loaded.

    Raises:
        CheckpointError: the file cannot be read, or none of its tensors fits.
    """
    _, tensors = _read(path, _MODEL_KIND)
    own = model.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise CheckpointError(f"{path}: no tensor fits {model.config.variant}; it is another architecture")
    model.load_state_dict(fitting, strict=False)
    return sorted(own.keys() - fitting.keys())


def save_state(
    path: Path,
    config: TrainConfig,
    progress: tuple[Position, Best],
    models: tuple[nn.Module, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    provenance: Mapping[str, str],
) -> None:
    """Write the whole state of a run.

    Args:
        models: the trained model and its average.
    """
    tensors = {f"model.{n}": t for n, t in models[0].state_dict().items()}
    tensors |= {f"average.{n}": t for n, t in models[1].state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    metadata = {
        "kind": _STATE_KIND,
        "config": to_json(config),
        "position": json.dumps(vars(progress[0])),
        "best": json.dumps(vars(progress[1])),
        "scaler": json.dumps(scaler.state_dict()),
        "provenance": json.dumps(dict(provenance)),
    }
    write_tensors(path, tensors, metadata)


def read_state_config(path: Path) -> TrainConfig:
    """Load the configuration of the run that wrote this state."""
    metadata, _ = _read(path, _STATE_KIND)
    try:
        return train_from_json(metadata["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_state(
    path: Path,
    models: tuple[nn.Module, nn.Module],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[Position, Best, dict[str, str]]:
    """Load a state that save_state wrote into models and optimizer.

    Returns:
        How far the run had come, its best evaluation, and its provenance.
    """
    metadata, tensors = _read(path, _STATE_KIND)
    for prefix, model in zip(("model.", "average."), models, strict=True):
        part = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        _load_strictly(path, model, part)
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            states.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    scaler.load_state_dict(json.loads(metadata["scaler"]))
    # Runs of version 0.1 kept no count of evaluations, and no provenance.
    position, best = json.loads(metadata["position"]), json.loads(metadata.get("best", "{}"))
    return Position(**position), Best(**best), json.loads(metadata.get("provenance", "{}"))


def _read(path: Path, kind: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    if metadata.get("kind") != kind:
        found = metadata.get("kind", "unknown")
        raise CheckpointError(f"{path} is of kind {found!r}, not {kind!r}")
    return metadata, tensors


def _load_strictly(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error

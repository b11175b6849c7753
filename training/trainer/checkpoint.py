"""Write and read checkpoints, which are safetensors files and contain no pickle.

The file holds tensors, and its header holds everything else as JSON. A run writes these files:

- model.safetensors has the averaged weights and the model's configuration, for evaluation and export.
- best.safetensors has the same from the evaluation with the highest mAP50-95 (for a classifier, top1).
- last.safetensors has the whole state of the run, from which training resumes exactly.
"""

import json
import logging
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
CONFIG_FILE = "config.json"  # the run's configuration, for people and for commands that read its data
STARTER = Path(__file__).resolve().parents[1] / "starter" / MODEL_FILE
_MODEL_KIND = "sparsight-model-1"
_STATE_KIND = "sparsight-training-1"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """The progress of a run, counted in epochs, batches and optimizer steps that are done."""

    epoch: int  # finished epochs
    batch: int  # finished batches of the next epoch
    step: int  # optimizer steps taken


@dataclass(frozen=True)
class Best:
    """The best evaluation of a run so far, and the number of evaluations after this one."""

    score: float | None = None  # None: no evaluation yet
    epoch: int = 0  # the number of finished epochs at this evaluation
    stale: int = 0  # the number of evaluations since this one


def find_checkpoint(named: Path, *, last: bool = False) -> Path:
    """Return the checkpoint that a user names by a file, a run's folder, or `starter` for the starter model.

    From the folder of a run, return the checkpoint with the best validation. If `last` is true, or if the run
    had no validation, return the last checkpoint instead. Raise CheckpointError if the folder has no
    checkpoint, or if `last` is true and `named` is no folder.
    """
    if named.is_dir():
        names = (MODEL_FILE,) if last else (BEST_FILE, MODEL_FILE)
        found = next((named / name for name in names if (named / name).is_file()), None)
        if found is None:
            raise CheckpointError(f"{named} has no {MODEL_FILE}: {_what_instead(named)}")
        why = "the best by validation" if found.name == BEST_FILE else "the last"
        log.info(f"checkpoint of {named}: {found.name}, {why}")
        return found
    if last:
        raise CheckpointError(f"--last chooses among the checkpoints of a run: {named} is no folder of one")
    return STARTER if str(named) == "starter" and not named.exists() else named


def _what_instead(folder: Path) -> str:
    """Return advice for the user whose folder has no checkpoint; it ends an error message."""
    if (folder / STATE_FILE).is_file() or (folder / CONFIG_FILE).is_file():
        return "its run was stopped before the first one was saved; the same train command resumes it"
    return "give the folder of a run, or a checkpoint"


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that no reader ever sees a partial file.

    Raise CheckpointError if the library cannot write the file, for example because the disk is full. An older
    file at `path` then stays as it is.
    """
    with written_beside(path) as partial:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # also for what the system reports, such as a full disk
            raise CheckpointError(
                f"{path} cannot be written ({error}); an older file of this name stays. Make room on the "
                "disk, then give the same command again"
            ) from error
        partial.chmod(0o644)  # the library lets only the owner read it; a server runs as another user


def check_output(path: Path) -> None:
    """Raise CheckpointError if a checkpoint cannot be written to `path`, or would replace a file."""
    if path.suffix.lower() != SUFFIX:
        raise CheckpointError(f"--output {path}: the name must end in {SUFFIX}")
    if path.exists():
        raise CheckpointError(f"{path} exists already; remove it, or choose another --output")
    if not path.parent.is_dir():
        raise CheckpointError(f"there is no folder {path.parent} to write into")


def save_model(
    path: Path, model: Network, provenance: dict[str, str], *, stored: Mapping[str, Tensor] | None = None
) -> None:
    """Write the weights, the configuration and the provenance (the origin of the weights) of a model.

    The weights in `stored` are written in place of the model's weights of the same names. They can have
    another precision than the model; load_model converts them to float32.
    """
    metadata = {"kind": _MODEL_KIND, "model": to_json(model.config), "provenance": json.dumps(provenance)}
    write_tensors(path, {**model.state_dict(), **(stored or {})}, metadata)


def load_model(path: Path) -> tuple[Network, dict[str, str]]:
    """Load a network of any task, and its provenance; the network is in evaluation mode.

    Raise CheckpointError if the file is missing, is damaged, or is not a saved model. Raise it also if the
    tensors do not fit the configuration in the file.
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
    """Load a detector and its provenance.

    Raise CheckpointError as load_model does, and also if the model is of another task.
    """
    model, provenance = load_model(path)
    if not isinstance(model, Detector):
        raise CheckpointError(f"{path} is for the task {model.config.task}, but a detector is needed")
    return model, provenance


def load_provenance(path: Path) -> dict[str, str]:
    """Load the provenance of a model's weights, without building the model."""
    metadata, _ = _read(path, _MODEL_KIND)
    return dict(json.loads(metadata["provenance"]))


def load_matching_weights(path: Path, model: Network) -> list[str]:
    """Load the tensors of a checkpoint whose name and shape a model has too; log how many there are.

    If the checkpoint and the model have different classes, the layers that score classes keep their initial
    weights, even if the shapes agree. Return the names of all tensors of the model that keep their initial
    weights. Raise CheckpointError if no tensor of the checkpoint fits the model.
    """
    metadata, tensors = _read(path, _MODEL_KIND)
    theirs, config, own = json.loads(metadata["model"]), model.config, model.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    if not fitting:
        raise CheckpointError(f"{path}: no tensor fits {config.variant}; the architectures differ")
    facts = []
    if tuple(theirs["class_names"]) != config.class_names:
        count = len(config.class_names)
        scoring = [n for n, t in fitting.items() if t.ndim and len(t) == count and _scores_classes(n)]
        fitting = {n: t for n, t in fitting.items() if n not in scoring}
        facts.append("it has other classes, so the layers that score classes start anew")
    if theirs["variant"] != config.variant:
        facts.append(
            f"it is a {theirs['variant']}, not a {config.variant}: --like takes its architecture too"
        )
    model.load_state_dict(fitting, strict=False)
    log.info("; ".join((f"{len(fitting)} of {len(own)} tensors start from {path}", *facts)))
    return sorted(own.keys() - fitting.keys())


def _scores_classes(name: str) -> bool:
    """Return whether a tensor belongs to the part of a head that scores classes."""
    return name.startswith("head.") and any(part.startswith(("class", "score")) for part in name.split("."))


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
    """Write the whole state of a run; `models` are the trained model and its average."""
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
    """Load the configuration of the run that wrote the state at `path`."""
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
    """Load the state of a run into models, optimizer and scaler.

    Return the position, the best evaluation and the provenance.
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
    # States of version 0.1 hold neither a best evaluation nor a provenance.
    position, best = json.loads(metadata["position"]), json.loads(metadata.get("best", "{}"))
    return Position(**position), Best(**best), json.loads(metadata.get("provenance", "{}"))


def _read(path: Path, kind: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give a .safetensors file, a run's folder or starter")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from error
    if metadata.get("kind") != kind:
        found = metadata.get("kind", "unknown")
        if found == _STATE_KIND:
            raise CheckpointError(
                f"{path} is the state from which a run resumes: give {MODEL_FILE} beside it"
            )
        raise CheckpointError(f"{path} is of kind {found!r}, not {kind!r}")
    return metadata, tensors


def _load_strictly(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own configuration: {error}") from error

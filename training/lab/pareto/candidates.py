"""Find the models to compare: checkpoints of runs that differ only in the seed are one model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from training.config import ModelConfig, TrainConfig
from training.config_json import differences
from training.errors import ConfigError
from training.export.contract.spec import Execution, route_top_ks
from training.lab.benchmark.subjects import label_of
from training.models.mixture.dynamic import mixes_for_each_image, mixes_kernels
from training.trainer.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    find_checkpoint,
    load_detector,
    load_provenance,
)
from training.trainer.loop import FREE_ON_RESUMING
from training.workflows.run_data import config_of_run


class Setting(NamedTuple):
    """How a model runs: which graph, and how many experts."""

    execution: Execution  # dense: all experts are computed
    top_k: int
    weight_threshold: float


@dataclass(frozen=True)
class Candidate:
    """A trained model, with one checkpoint for each seed."""

    label: str
    checkpoints: tuple[Path, ...]  # in the order of the seeds
    config: ModelConfig


class _Run(NamedTuple):
    checkpoint: Path
    config: TrainConfig | None  # None: the checkpoint has no config.json beside it


def find_candidates(named: Sequence[Path]) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return the models of checkpoints and folders of runs, and the reasons why runs are left out.

    From the folder of a run, the checkpoint of the last epoch is taken, since it was not chosen on the images
    that are measured. A run that is not finished is left out.

    Raises:
        CheckpointError: a file is missing, is damaged, or is not the checkpoint of a detector.
        ConfigError: two models have the same name, or there is no finished one, or they are for different
            tasks or cannot be exported.
    """
    runs: dict[str, list[_Run]] = {}
    left_out = []
    for path in named:
        run, reason = _find_run(path)
        if run is None:
            left_out.append(f"{path}: {reason}")
        else:
            runs.setdefault(_name(run), []).append(run)
    if not runs:
        raise ConfigError("no finished model to measure: " + "; ".join(left_out))
    found = tuple(_candidate(label, group) for label, group in runs.items())
    first = found[0]
    for other in found[1:]:
        if other.config.task != first.config.task:
            tasks = f"{first.label} is for {first.config.task}, and {other.label} for {other.config.task}"
            raise ConfigError(f"{tasks}; give models for one task")
    return found, tuple(left_out)


def settings_of(
    candidate: Candidate, top_ks: Sequence[int] = (), thresholds: Sequence[float] = ()
) -> tuple[Setting, ...]:
    """Return the settings in which a model is measured.

    Without experts, there is one. With experts, there is one for each top_k and threshold in which experts
    are skipped, and one in which all experts are computed, with the trained top_k and threshold. In a network
    with paths, a path has a sibling for each top_k that an export has, and no threshold. If it averages its
    experts, there is only one.

    Args:
        top_ks: values that the model need not allow all; empty: all that it allows.
        thresholds: weight thresholds; empty: the trained one. At top_k 1 and below, they change nothing.

    Raises:
        ConfigError: the model allows none of `top_ks`.
    """
    config = candidate.config
    if not config.mixtures:
        return (Setting("dense", config.top_k, 0.0),)
    allowed = config.allowed_top_k if config.paths is None else route_top_ks(config)
    chosen = sorted({top_k for top_k in top_ks or allowed if top_k in allowed})
    if not chosen:
        values = ", ".join(map(str, allowed))
        raise ConfigError(f"{candidate.label} runs with {values} experts; give one of them to --top-k")
    trained = config.weight_threshold if config.paths is None else 0.0
    wanted = sorted(set(thresholds or [trained])) if config.paths is None else [0.0]
    sparse = [
        Setting("sparse", top_k, each)
        for top_k in chosen
        for each in wanted
        if top_k > 1 or each == wanted[0]
    ]
    if mixes_kernels(config):
        return tuple(sparse)
    return *sparse, Setting("dense", config.top_k, trained)


def _find_run(path: Path) -> tuple[_Run | None, str]:
    """Return a run; None and the reason if it is not finished."""
    if path.is_dir() and (path / CONFIG_FILE).is_file() and not (path / MODEL_FILE).is_file():
        return None, "not finished, and without a checkpoint"
    checkpoint = find_checkpoint(path, last=path.is_dir())
    config = config_of_run(checkpoint)
    if config is not None and checkpoint.name == MODEL_FILE:
        epoch = int(load_provenance(checkpoint).get("epoch", config.epochs))
        if epoch < config.epochs:
            return None, f"not finished, epoch {epoch} of {config.epochs}"
    return _Run(checkpoint, config), ""


def _name(run: _Run) -> str:
    """Return the name of a run's folder, without the seed at its end."""
    label = label_of(run.checkpoint)
    return label if run.config is None else label.removesuffix(f"-{run.config.seed}")


def _candidate(label: str, runs: Sequence[_Run]) -> Candidate:
    first, *others = runs
    for other in others:
        where = f"{first.checkpoint} and {other.checkpoint} are both called {label}"
        if first.config is None or other.config is None:
            raise ConfigError(f"{where}; rename the folder of one")
        found = differences(asdict(first.config), asdict(other.config))
        if wrong := [text for name, text in found.items() if name not in (*FREE_ON_RESUMING, "seed")]:
            raise ConfigError(
                f"{where}, but differ in more than the seed: {'; '.join(wrong[:3])}; rename the folder of one"
            )
    by_seed = {run.config.seed if run.config else 0: run.checkpoint for run in runs}
    if len(by_seed) < len(runs):
        raise ConfigError(f"two checkpoints of {label} have the same seed; give each seed once")
    model, _ = load_detector(first.checkpoint)
    if mixes_for_each_image(model.config):
        raise ConfigError(f"{first.checkpoint} has dynamic experts, which cannot be exported")
    return Candidate(label, tuple(by_seed[seed] for seed in sorted(by_seed)), model.config)

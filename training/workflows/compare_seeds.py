"""Compare two variants that were trained with several seeds, on the checkpoints of their last epochs."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from training.config import TrainConfig
from training.config_json import differences
from training.data.evaluation import Truth
from training.data.sample import Dataset
from training.data_config import DataConfig
from training.errors import ConfigError
from training.evaluate.evaluator import check_classes
from training.evaluate.mean_ap import MeanAp, mean_average_precision
from training.evaluate.objects.kind import ObjectKind
from training.evaluate.objects.kinds import kind_of
from training.evaluate.seeds import Lead, lead
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import MODEL_FILE, load_detector, load_provenance
from training.trainer.loop import FREE_ON_RESUMING
from training.workflows.dataset_config import check_keypoints, described
from training.workflows.kept_measurement import Measurement, hash_of_images, measure_once
from training.workflows.measure import controls_of, labelled_for
from training.workflows.run_data import config_of_run

# Settings in which two variants may differ without a remark in the report: they belong to the variant.
OF_THE_VARIANT = ("model.", "loss.", "top_ks")
OF_THE_BUDGET = ("model.input_hw", "model.class_names")  # not of the variant, although they begin with model.

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedRun:
    """A training run that ran to its end, and its last checkpoint."""

    checkpoint: Path
    config: TrainConfig

    @property
    def seed(self) -> int:
        """Return the seed of the run."""
        return self.config.seed


@dataclass(frozen=True)
class Side:
    """The figures of one of the two variants, in the order of the seeds."""

    name: str  # the variant, and the number of experts that ran
    measured: tuple[MeanAp, ...]
    gflops: tuple[float, ...]  # used, mean over images

    @cached_property
    def mean_gflops(self) -> float:
        """Return the mean over seeds of the used GFLOPs."""
        return fmean(self.gflops)


@dataclass(frozen=True)
class SeedsCompared:
    """The figures of two variants, and the lead of the first."""

    first: Side
    second: Side
    lead: Lead
    images: int
    kind: ObjectKind
    differing: tuple[str, ...]  # settings outside the variant in which the two sides differ
    left_out: tuple[str, ...]  # runs that do not count, each with the reason


def finished_runs(folders: Sequence[Path]) -> tuple[dict[int, SeedRun], list[str]]:
    """Return the finished runs by seed, and the reasons why others are left out.

    Raises:
        ConfigError: a folder is not that of a run, two runs have the same seed, or runs differ in more than
            the seed.
        CheckpointError: a checkpoint cannot be read.
    """
    runs, left_out = dict[int, SeedRun](), list[str]()
    for folder in folders:
        checkpoint = folder / MODEL_FILE
        config = config_of_run(checkpoint)
        if config is None:
            raise ConfigError(f"{folder} is not the folder of a run with a config.json; give folders of runs")
        epoch = 0
        if checkpoint.is_file():
            epoch = int(load_provenance(checkpoint).get("epoch", 0))
        if epoch < config.epochs:
            left_out.append(f"{folder}: not finished, epoch {epoch} of {config.epochs}")
            continue
        if config.seed in runs:
            other = runs[config.seed].checkpoint.parent
            raise ConfigError(f"{other} and {folder} have the same seed {config.seed}: give each seed once")
        runs[config.seed] = SeedRun(checkpoint, config)
    for before, after in pairwise(runs.values()):
        if wrong := [text for name, text in _differences(before, after).items() if name != "seed"]:
            raise ConfigError(
                f"{after.checkpoint.parent} differs from {before.checkpoint.parent} in more than the seed: "
                f"{'; '.join(wrong[:3])}"
            )
    return dict(sorted(runs.items())), left_out


def _differences(one: SeedRun, other: SeedRun) -> dict[str, str]:
    found = differences(asdict(one.config), asdict(other.config))
    return {name: text for name, text in found.items() if name not in FREE_ON_RESUMING}


def pair_runs(
    first: Sequence[Path], second: Sequence[Path]
) -> tuple[list[tuple[SeedRun, SeedRun]], tuple[str, ...]]:
    """Return the pairs of finished runs with the same seed, and why other runs are left out.

    Raise ConfigError if there is no pair; for other errors, see finished_runs.
    """
    (one, gone), (other, also) = finished_runs(first), finished_runs(second)
    left_out = [*gone, *also]
    for mine, theirs in ((one, other), (other, one)):
        alone = [run.checkpoint.parent for seed, run in mine.items() if seed not in theirs]
        left_out += [f"{folder}: the other side has no finished run with this seed" for folder in alone]
    pairs = [(one[seed], other[seed]) for seed in one if seed in other]
    if not pairs:
        raise ConfigError("no seed has a finished run on both sides: " + "; ".join(left_out))
    return pairs, tuple(left_out)


def compare_seeds(
    pairs: Sequence[tuple[SeedRun, SeedRun]],
    data: DataConfig,
    *,
    left_out: tuple[str, ...] = (),
    top_ks: tuple[int | None, int | None] = (None, None),
    draws: int = 1000,
) -> SeedsCompared:
    """Measure pairs of runs with the same seed, and return the lead of the first variant over the second.

    A checkpoint that was measured before on the same images, with as many experts, is not measured again.

    Raises:
        ConfigError: a model cannot run with its value in top_ks, or the models are for different tasks.
        CheckpointError: a checkpoint is not that of a detector.
        DatasetError: the data set does not suit the checkpoints, or it has fewer than two images.
    """
    (one, other), *_ = pairs
    tasks = one.config.model.task, other.config.model.task
    if tasks[0] != tasks[1]:
        raise ConfigError(f"models for {tasks[0]} and {tasks[1]} cannot be compared; give two for one task")
    models = [load_detector(run.checkpoint)[0] for run in (one, other)]
    controls = [controls_of(model, top_k) for model, top_k in zip(models, top_ks, strict=True)]
    dataset = labelled_for(models[0], data)
    check_keypoints(models[1].config.skeleton, dataset.skeleton)
    log.info(f"measuring on {described(data)}")
    truths, images, kind = _truths(dataset), hash_of_images(dataset), kind_of(one.config.model)
    found = [[_measure(pair[place], dataset, images, controls[place]) for pair in pairs] for place in (0, 1)]
    sides = [_side(pairs[0][place], found[place], truths, kind, controls[place]) for place in (0, 1)]
    detections = [(a.detections, b.detections) for a, b in zip(*found, strict=True)]
    return SeedsCompared(
        first=sides[0],
        second=sides[1],
        lead=lead(truths, detections, [pair[0].seed for pair in pairs], kind, draws=draws),
        images=len(truths),
        kind=kind,
        differing=_differing(one, other),
        left_out=left_out,
    )


def _truths(dataset: Dataset) -> list[Truth]:
    return [Truth.of(dataset.load(index)) for index in range(len(dataset))]


def _measure(run: SeedRun, dataset: Dataset, images: str, controls: RoutingControls) -> Measurement:
    check_classes(run.config.model.class_names, dataset.class_names)
    return measure_once(run.checkpoint, dataset, images, controls)


def _side(
    run: SeedRun,
    found: Sequence[Measurement],
    truths: Sequence[Truth],
    kind: ObjectKind,
    controls: RoutingControls,
) -> Side:
    model = run.config.model
    ran = f" K={controls.top_k}" if model.mixtures else ""
    scores = (mean_average_precision(truths, each.detections, model.class_names, kind) for each in found)
    return Side(f"{model.variant}{ran}", tuple(scores), tuple(each.gflops for each in found))


def _differing(one: SeedRun, other: SeedRun) -> tuple[str, ...]:
    return tuple(
        text
        for name, text in _differences(one, other).items()
        if name.startswith(OF_THE_BUDGET) or not name.startswith(OF_THE_VARIANT)
    )

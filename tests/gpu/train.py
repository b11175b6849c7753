"""Trains sparsight-n by the recipe `starter`, with as many epochs as fit into the time limit.

The learning-rate schedule depends on the number of epochs. So the first epoch is run once to be timed, and
thrown away. Then the number of epochs is chosen, and the training begins.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.gpu.given import Given, cores, read_given
from tests.gpu.results import Results
from tests.gpu.sparsight import (
    DETECT,
    METRICS_FILE,
    MODEL_FILE,
    CombinedConfig,
    Detector,
    Evaluation,
    Request,
    TrainConfig,
    Trainer,
    build_config,
    evaluate,
    open_dataset,
    recipe_splits,
    save_model,
)
from tests.gpu.steps import watch

NOT_TIMED = 0.1  # share of the first steps that is not counted: workers start, kernels are chosen
TIMED_AT_MOST = 0.15  # share of the part's time
EVALUATIONS = 2  # one in the middle, in case the end is cut off, and one at the end
SPARE = 0.06  # share of the time left, for checkpoints and for slower epochs
FEW_EPOCHS = 6  # with --smallest
EVALUATION_GROWS = 2.0  # a trained model has more detections to match than random weights


@dataclass(frozen=True)
class Pace:
    """Measured times in seconds."""

    start_s: float  # from the trainer's start to its first step, while images are decoded
    epoch_s: float
    evaluation_s: float


def main() -> int:
    """Time an epoch, choose the number of epochs, train and measure; return 1 if the schedule did not end."""
    begun_s = time.monotonic()
    given = read_given()
    results = Results(given.results, "train")
    config = recipe(given)
    with tempfile.TemporaryDirectory() as folder:
        pace = measured_pace(config, Path(folder, "timed"), given.seconds * TIMED_AT_MOST)
        left_s = given.seconds - (time.monotonic() - begun_s)
        epochs = epochs_that_fit(pace, left_s)
        config = scheduled(config, min(epochs, FEW_EPOCHS) if given.smallest else epochs)
        results.record(
            "first epoch", "measured", **vars(pace), batch=config.batch_size, workers=config.loader_workers
        )
        results.record("schedule", "measured", epochs=config.epochs, left_s=left_s)
        finished = trained(config, Path(folder, "run"), results, given.results)
    return 0 if finished else 1


def recipe(given: Given) -> TrainConfig:
    """Return the recipe's configuration for the packed data, with a loader on all cores.

    Raises:
        DatasetError: the packed data cannot be read.
        ConfigError: the batch is too small.
    """
    splits = recipe_splits("starter", given.packed / "data")
    assert splits is not None
    train, val = splits
    if given.smallest:
        train, val = few_of(train, 1), few_of(val, 0)
    side = 64 if given.smallest else 640
    request = Request(
        class_names=open_dataset(train).class_names,
        train_data=train,
        val_data=val,
        variant="sparsight-n",
        overrides={"model.input_hw": (side, side), "batch_size": given.batch},
    )
    config = build_config("starter", request)
    return replace(config, loader_workers=min(cores(), 16), checkpoint_every_s=60.0)


def few_of(data: object, fold: int) -> CombinedConfig:
    """Return the data with every fortieth image of each data set."""
    assert isinstance(data, CombinedConfig)
    return CombinedConfig(parts=tuple(replace(part, folds=40, kept=(fold,)) for part in data.parts))


def measured_pace(config: TrainConfig, run_dir: Path, at_most_s: float) -> Pace:
    """Return the times of the first epoch and one validation; stop the epoch after at_most_s."""
    assert config.val_data is not None
    trainer = Trainer(config, open_dataset(config.train_data), run_dir)
    batches = max(1, len(trainer.dataset) // config.batch_size)
    watched = watch(trainer, stop_after=batches, stop_at_s=time.monotonic() + at_most_s)
    begun_s = time.monotonic()
    trainer.run()
    first = min(math.ceil(len(watched.ended_s) * NOT_TIMED), len(watched.ended_s) - 1)
    ended_s = watched.ended_s[first:]
    steps = len(ended_s) - 1
    step_s = (ended_s[-1] - ended_s[0]) / steps if steps else ended_s[0] - begun_s
    start_s = max(watched.ended_s[0] - begun_s - step_s, 0.0)
    validated_s = time.monotonic()
    evaluate(trainer.average.model, open_dataset(config.val_data))
    return Pace(start_s, step_s * batches, time.monotonic() - validated_s)


def epochs_that_fit(pace: Pace, left_s: float) -> int:
    """Return how many epochs fit into left_s, with start and evaluations; at least 1."""
    around_s = pace.start_s + EVALUATIONS * EVALUATION_GROWS * pace.evaluation_s
    return max(1, int((left_s * (1 - SPARE) - around_s) / pace.epoch_s))


def scheduled(config: TrainConfig, epochs: int) -> TrainConfig:
    """Return the configuration for this number of epochs; the last quarter has no mosaic, 15 at most."""
    closing = replace(config.augment, close_mosaic_epochs=min(15, math.ceil(epochs / 4)))
    every = math.ceil(epochs / EVALUATIONS)
    return replace(config, epochs=epochs, augment=closing, evaluate_every_epochs=every)


def trained(config: TrainConfig, run_dir: Path, results: Results, kept: Path) -> bool:
    """Train, write model and figures into `kept` at every validation; return whether the schedule ended."""
    assert isinstance(config.val_data, CombinedConfig)
    trainer = Trainer(config, open_dataset(config.train_data), run_dir, provenance={"recipe": "starter"})
    watched = watch(trainer)
    validation = open_dataset(config.val_data)
    class_names = classes_by_origin(config.val_data)

    def validate(model: Detector) -> dict[str, float]:
        begun_s = time.monotonic()
        result = evaluate(model, validation)
        scores = DETECT.scores(result, validation)
        results.record(
            "validation",
            "measured",
            step=len(watched.losses),
            told=DETECT.sentence(scores),
            **by_origin(result, class_names),
            images=result.images,
            seconds=time.monotonic() - begun_s,
            scores=scores,
        )
        keep(model, trainer, kept)
        return scores

    outcome = trainer.run(validate)
    keep(trainer.average.model, trainer, kept)
    results.record(
        "run",
        "passed" if outcome.finished else "failed",
        **vars(outcome.position),
        precision=str(trainer.dtype or "f32"),
        images_per_s=throughput(watched.ended_s, config.batch_size),
        first_loss=watched.losses[0],
        last_loss=watched.losses[-1],
    )
    return outcome.finished


def keep(model: Detector, trainer: Trainer, folder: Path) -> None:
    """Write the model and the run's figures into the results folder.

    Weights are rounded to float16, like the starter's, because a float32 file is too large to copy back.
    """
    rounded = {name: each.half() for name, each in model.state_dict().items() if each.ndim > 1}
    provenance = {**trainer.provenance, "step": str(trainer.position.step)}
    save_model(folder / MODEL_FILE, model, provenance, stored=rounded)
    shutil.copyfile(trainer.run_dir / METRICS_FILE, folder / METRICS_FILE)


def classes_by_origin(data: CombinedConfig) -> Mapping[str, tuple[str, ...]]:
    """Return the classes of each data set, by the name of its folder."""
    return {Path(part.root).name: open_dataset(part).class_names for part in data.parts}


def by_origin(result: Evaluation, class_names: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Return mAP over the classes of each data set."""
    scores: dict[str, float] = {}
    for figure, by_class in (
        ("mAP50", result.mean_ap.map50_by_class),
        ("mAP50-95", result.mean_ap.map50_95_by_class),
    ):
        for origin, names in class_names.items():
            values = [by_class[name] for name in names if name in by_class]
            if values:
                scores[f"{figure} {origin}"] = sum(values) / len(values)
    return scores


def throughput(ended_s: list[float], batch_size: int) -> float:
    """Return images per second in the middle half of the steps; 0 if there are too few steps."""
    middle = ended_s[len(ended_s) // 4 : len(ended_s) * 3 // 4 + 1]
    return (len(middle) - 1) * batch_size / (middle[-1] - middle[0]) if len(middle) > 1 else 0.0


if __name__ == "__main__":
    raise SystemExit(main())

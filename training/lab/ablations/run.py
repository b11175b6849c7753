"""Train and measure the rows of ablation tables one after the other, and resume runs that were stopped."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from training.config import ModelConfig
from training.data.open import open_dataset
from training.data_config import DataConfig
from training.errors import ConfigError, TrainingError
from training.evaluate.baseline import nmi_by_layer
from training.evaluate.evaluator import Evaluation
from training.files import write_atomically
from training.lab.ablations.rows import Row
from training.models.cost import measure_cost
from training.models.network import count_parameters
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.trainer.checkpoint import load_detector
from training.workflows.dataset_config import GENERATED, open_for
from training.workflows.measure import evaluate_detector
from training.workflows.train import TrainOptions, train, training_config

RESULT_FILE, SETTINGS_FILE = "result.json", "settings.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The settings that all rows in an output folder share."""

    recipe: str
    data: str  # the folder's name without its path, because reports are shared
    split: str | None  # None, as val_split: the recipe's own splits, or generated scenes
    val_split: str | None
    classes: int
    train_images: int
    val_images: int
    input_hw: tuple[int, int]
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class RoutingFigures:
    """Figures on the routing of one run's model on the validation data.

    The figures for each layer are measured at the model's own top_k.
    """

    map50_95: dict[str, float]  # 0..1, by allowed number of experts: one, the model's own top_k, all
    dead_experts: dict[str, int]  # number of experts that no image chose, by layer
    commonest_set: dict[str, float]  # share of images that had the commonest set of experts, by layer
    nmi: dict[str, dict[str, float]]  # of set and group, by layer, for each grouping that the data has

    def mean_nmi(self, grouping: str) -> float | None:
        """Return the mean, over layers, of the NMI of expert sets with the groups of a grouping.

        Return None if the data lacks this grouping.
        """
        found = [shared[grouping] for shared in self.nmi.values() if grouping in shared]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Result:
    """The figures of a finished run on the validation data; a run with a stored result counts as finished."""

    seed: int
    map50: float  # 0..1
    map50_95: float
    parameters: int
    gflops_at_top_k: float
    information_bits: dict[str, float]  # by mixture layer
    seconds: float  # duration; for a resumed run, since the last start only
    resumed: bool
    routing: RoutingFigures | None = None  # only for rows on routing


@dataclass(frozen=True)
class Progress:
    """The results of finished runs and the errors of failed runs; the keys are folder name and seed."""

    finished: dict[tuple[str, int], Result]
    failed: dict[tuple[str, int], str]
    stopped: bool  # by the user; the same command resumes


def options_of(row: Row, seed: int, usual: TrainOptions) -> TrainOptions:
    """Return the options of `train` for one run.

    `usual` holds the options that all runs share; its run_dir is the folder of all runs.
    """
    return replace(
        usual,
        run_dir=usual.run_dir / row.run / f"seed-{seed}",
        variant=row.variant,
        mixture=row.mixture,
        overrides={**usual.overrides, **row.overrides, "seed": seed},
    )


def settle(
    rows: Sequence[Row], options: TrainOptions, seeds: Sequence[int] = (0,)
) -> tuple[Settings, DataConfig]:
    """Return the settings that all rows share, and the validation data.

    Also store the settings in the output folder options.run_dir.

    Raises:
        ConfigError: the output folder holds rows with other settings, or there is no validation data.
        DatasetError: the data cannot be read.
    """
    config, dataset = training_config(options_of(rows[0], seeds[0], options))
    if config.val_data is None:
        raise ConfigError("ablations need validation data: give --val-split")
    splits = options.data is not None and options.recipe not in RECIPES_WITH_DATA
    settings = Settings(
        recipe=options.recipe,
        data=options.data.resolve().name if options.data else GENERATED,
        split=options.split if splits else None,
        val_split=options.val_split if splits and not options.reading.hold_out else None,
        classes=len(dataset.class_names),
        train_images=len(dataset),
        val_images=len(open_dataset(config.val_data)),
        input_hw=config.model.input_hw,
        epochs=config.epochs,
        batch_size=config.batch_size,
    )
    _keep_settings(options.run_dir, settings)
    return settings, config.val_data


def _keep_settings(output: Path, settings: Settings) -> None:
    path, ours = output / SETTINGS_FILE, json.loads(json.dumps(asdict(settings)))
    theirs = ours
    if path.exists():  # the first version stored the whole path of the data, and no splits
        theirs = {name: ours[name] for name in ("split", "val_split")} | _read_json(path)
        theirs["data"] = Path(str(theirs.get("data"))).name
    for name in ours:
        if theirs.get(name) != ours[name]:
            raise ConfigError(
                f"{output} holds rows with {name} {theirs.get(name)}, not {ours[name]}; "
                "give the same value, or another --output"
            )
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(ours, indent=2) + "\n")


def run_rows(
    rows: Sequence[Row],
    options: TrainOptions,
    seeds: Sequence[int],
    val_data: DataConfig,
    *,
    after_each: Callable[[Progress], object],
) -> Progress:
    """Train and measure every row with every seed, and skip finished runs.

    All rows are run with the first seed, then all rows with the next seed. If a run fails, the error is
    logged, and the next run starts. `after_each` is called with the progress after each run.
    """
    runs = {(row.run, seed): row for seed in seeds for row in rows}
    before = {key: read_result(options_of(row, key[1], options).run_dir) for key, row in runs.items()}
    finished = {key: result for key, result in before.items() if result is not None}
    failed: dict[tuple[str, int], str] = {}
    if finished:
        log.info(f"{len(finished)} of {len(runs)} runs are finished already")
    for key, row in runs.items():
        if key in finished:
            continue
        done = len(finished) + len(failed)
        log.info(
            f"run {done + 1} of {len(runs)}: {row.run}, seed {key[1]}{_time_left(finished, len(runs) - done)}"
        )
        try:
            result = _run(row, key[1], options, val_data)
        except (TrainingError, OSError, RuntimeError, MemoryError) as error:  # torch's are RuntimeErrors
            message = str(error) or type(error).__name__
            failed[key] = _without_folders(message, options)
            log.info(f"failed: {row.run}, seed {key[1]}: {message}; the next run starts")
        else:
            if result is None:
                return Progress(finished, failed, True)
            finished[key] = result
            log.info(f"mAP50 {result.map50:.3f}, mAP50-95 {result.map50_95:.3f}")
        after_each(Progress(finished, failed, False))
    return Progress(finished, failed, False)


def _without_folders(message: str, options: TrainOptions) -> str:
    """Return the message with names of folders instead of their full paths, because reports are shared."""
    folders = [folder for folder in (options.data, options.run_dir) if folder is not None]
    around = {each.parent for folder in folders for each in (folder.absolute(), folder.resolve())}
    for parent in sorted(map(str, around), key=len, reverse=True):  # a path can contain a shorter one
        message = message.replace(f"{parent}/", "")
    return message


def _run(row: Row, seed: int, options: TrainOptions, val_data: DataConfig) -> Result | None:
    """Train and measure one run; return None if the user stopped it."""
    run_dir = options_of(row, seed, options).run_dir
    resumed, started = run_dir.exists(), time.monotonic()
    outcome = train(options_of(row, seed, options))
    if not outcome.finished:
        return None
    evaluation = evaluate_detector(outcome.model_path, val_data)
    model, _ = load_detector(outcome.model_path)
    routing = None
    if row.table is None:
        routing = measure_routing(outcome.model_path, model.config, evaluation, val_data)
    result = Result(
        seed=seed,
        map50=evaluation.mean_ap.map50,
        map50_95=evaluation.mean_ap.map50_95,
        parameters=count_parameters(model),
        gflops_at_top_k=measure_cost(model).at_top_k(model.config.top_k),
        information_bits={use.layer: use.information_bits for use in evaluation.experts},
        seconds=time.monotonic() - started,
        resumed=resumed,
        routing=routing,
    )
    write_atomically(run_dir / RESULT_FILE, json.dumps(asdict(result), indent=2) + "\n")
    return result


def _time_left(finished: dict[tuple[str, int], Result], runs: int) -> str:
    """Return the time left as text, estimated from the mean time of runs that were never interrupted."""
    whole = [result.seconds for result in finished.values() if not result.resumed]
    if not whole:
        return ""
    minutes = fmean(whole) * runs / 60
    left = f"{minutes / 60:.1f} h" if minutes >= 90 else f"{max(minutes, 1):.0f} min"
    return f"; about {left} left"


def measured_top_ks(config: ModelConfig) -> tuple[int, int, int]:
    """Return the three top_k values to measure: 1, the model's own top_k, and the number of all experts.

    A model may not allow all three values: dynamic experts allow only the number of all experts.
    """
    return 1, config.top_k, config.allowed_top_k[-1]


def measure_routing(
    checkpoint: Path, config: ModelConfig, usual: Evaluation, data: DataConfig
) -> RoutingFigures:
    """Return the figures on a model's routing; `usual` is its evaluation on `data` at its own top_k."""
    map50_95 = {}
    for top_k in (each for each in measured_top_ks(config) if each in config.allowed_top_k):
        found = usual if top_k == config.top_k else evaluate_detector(checkpoint, data, top_k=top_k)
        map50_95[str(top_k)] = found.mean_ap.map50_95
    return RoutingFigures(
        map50_95=map50_95,
        dead_experts={use.layer: len(use.dead_experts) for use in usual.experts},
        commonest_set={use.layer: use.commonest_set_share for use in usual.experts},
        nmi=nmi_by_layer(usual.routed, open_for(config, data)),
    )


def read_result(run_dir: Path) -> Result | None:
    """Return the result of a finished run; None if the run is not finished.

    Raises:
        ConfigError: another version of this command wrote the result.
    """
    path = run_dir / RESULT_FILE
    if not path.is_file():
        return None
    try:
        values = _read_json(path)
        routing = values.pop("routing", None)
        return Result(**values, routing=None if routing is None else RoutingFigures(**routing))
    except TypeError as error:
        raise ConfigError(
            f"{path} is not a result of this version: {error}; remove it to run again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}; remove it to continue") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no JSON object; remove it to continue")
    return values

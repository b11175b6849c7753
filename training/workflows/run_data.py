"""The data of the run that wrote a checkpoint; config.json beside the checkpoint names it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.config import TrainConfig
from training.config_json import train_from_json
from training.data_config import AS_FOUND, CombinedConfig, DataConfig, FolderConfig, Reading, ScenesConfig
from training.errors import ConfigError
from training.recipes.recipe_data import refuse_splits
from training.trainer.checkpoint import CONFIG_FILE, load_provenance
from training.workflows import dataset_config
from training.workflows.dataset_config import GENERATED, measured_data


def measured_on(
    checkpoint: Path,
    folder: Path | None = None,
    split: str | None = None,
    recipe: str | None = None,
    classes: Sequence[str] = (),
    reading: Reading = AS_FOUND,
) -> DataConfig:
    """Return the data to measure on: data of `folder` or `recipe` if given, else of the checkpoint's run.

    The data of a run is the split named `split` of its training folder. If `split` is None, it is the run's
    validation data.

    Raises:
        ConfigError: `folder` and `recipe` are None, and either the checkpoint's run is not known or lacks the
            data, or `classes` or `reading` is set, which would change the run's own data.
    """
    if folder is not None or recipe is not None:
        return measured_data(folder, split or reading.usual_split, recipe, classes, reading)
    if classes or reading != AS_FOUND:
        raise ConfigError(
            "a run's own data is read as in the run: give --data, or leave --classes, --format, "
            "--hold-out and --bits out"
        )
    return _data_of_run(checkpoint, split)


def config_of_run(checkpoint: Path) -> TrainConfig | None:
    """Return the configuration of the run that wrote a checkpoint, read from config.json beside it.

    Return None if the file does not exist; raise ConfigError if it is damaged.
    """
    path = checkpoint.with_name(CONFIG_FILE)
    if not path.is_file():
        return None
    try:
        return train_from_json(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}; give --data") from error


def missing_folder(data: DataConfig) -> str | None:
    """Return the first folder or file of a run's data that this machine lacks; None if all exist."""
    match data:
        case ScenesConfig():
            return None
        case FolderConfig():
            return None if Path(data.root).exists() else data.root
        case CombinedConfig():
            return next(filter(None, map(missing_folder, data.parts)), None)


def _data_of_run(checkpoint: Path, split: str | None) -> DataConfig:
    trained_on = load_provenance(checkpoint).get("data", "")
    if not trained_on:
        raise ConfigError(f"{checkpoint} does not state its training data; give a folder with --data")
    if trained_on == GENERATED:
        refuse_splits(None, [] if split is None else ["--split"], folder=False)
        return dataset_config.SCENES_UNSEEN
    config = config_of_run(checkpoint)
    if config is None:
        raise ConfigError(
            f"{checkpoint} was trained on {trained_on}, but there is no {CONFIG_FILE} beside it, which would "
            "name the folder; give --data"
        )
    data = config.val_data if split is None else None
    if split is not None and isinstance(config.train_data, FolderConfig):
        data = replace(config.train_data, split=split, hold_out=0.0)
    if data is not None and (missing := missing_folder(data)):
        raise ConfigError(f"{missing}, the data of the run of {checkpoint}, is not here; give it with --data")
    if data is not None:
        return data
    what = "had no validation data" if split is None else f"joined several folders without a split {split}"
    raise ConfigError(f"the run of {checkpoint} {what}; give --data")

"""The command `python -m training look`."""

from pathlib import Path

from training.errors import ConfigError
from training.lab.preview.contact_sheet import contact_sheet, training_samples, write_image
from training.workflows.train import TrainOptions, training_config


def look(options: TrainOptions, output: Path, *, epoch: int = 1, images: int = 16) -> int:
    """Draw the samples that a run would see, in order, as one image; return the number of samples.

    Args:
        options: as for train; run_dir and weights are ignored.
        output: a .png or .jpg file; an existing file is replaced.
        epoch: counted from 1; the last epochs of a run are without mosaic, mixup and copy-paste.
        images: at most; an epoch may have fewer.

    Raises:
        ConfigError: the run has no such epoch, or output is not the name of an image file.
        DatasetError: the data cannot be read.
    """
    config, dataset = training_config(options)
    if not 1 <= epoch <= config.epochs:
        raise ConfigError(f"epoch {epoch} is none of this run's 1..{config.epochs}")
    shown = training_samples(dataset, config, epoch - 1, images)
    write_image(output, contact_sheet(shown, dataset.class_names))
    return len(shown)

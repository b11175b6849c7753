"""Training, evaluation, export and prediction for detectors and classifiers with a mixture of experts."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.predict.model import Model


def load(model: str | Path = "starter", *, device: str | None = None) -> "Model":
    """Load a model that predicts: `load("starter").predict("reef.jpg")`.

    Args:
        model: a .safetensors file, the folder of a training run, the folder of an exported artifact, or the
            name of a model in model_repository, such as "starter".
        device: cpu, cuda or cuda:1; None: a GPU if there is one. An artifact runs on the CPU.

    Raises:
        TrainingError: there is no such model, or it cannot be read; the message says what to do.
    """
    from training.predict.load import load as load_now  # here, because importing torch takes seconds

    return load_now(model, device=device)

"""The errors of training that a user can correct; the command line prints the message as one line."""

from pathlib import Path
from traceback import extract_tb


class TrainingError(Exception):
    """The base class of errors that a user can correct; the message says what is wrong and what to do."""


class ConfigError(TrainingError):
    """A configuration or an option cannot work."""


class DatasetError(TrainingError):
    """A data set is missing, malformed or empty; the message names the file."""


class LoaderError(TrainingError):
    """A process that loads images has ended or cannot start; the message says why and what to do."""


class NoSuchSplit(DatasetError):
    """A data set lacks the requested split, or the split has no image."""


class CheckpointError(TrainingError):
    """A checkpoint is missing or truncated, or does not fit the model."""


class DownloadError(TrainingError):
    """A data set cannot be downloaded, or the downloaded file is not the expected one.

    Partial files stay if their download can be resumed.
    """


class ExportError(TrainingError):
    """An export failed, and wrote no files.

    For example, the outputs of the exported graph differ too much from those of its checkpoint.
    """


def in_a_sentence(error: BaseException) -> str:
    """Return the type of an error, its message on one line, and the line of code that raised it."""
    places = extract_tb(error.__traceback__)
    where = f", {Path(places[-1].filename).name} line {places[-1].lineno}" if places else ""
    return f"{' '.join(f'{type(error).__name__}: {error}'.split())}{where}"

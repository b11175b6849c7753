"""What can go wrong in training, as types; the command line turns each into one clear line."""


class TrainingError(Exception):
    """Anything a user can act on. The message says what is wrong and what to do."""


class ConfigError(TrainingError):
    """A configuration that cannot work, found when it is made."""


class DatasetError(TrainingError):
    """A data set that is missing, malformed or empty; names the file."""


class CheckpointError(TrainingError):
    """A checkpoint that is missing, truncated or does not fit the model."""


class DownloadError(TrainingError):
    """A data set that cannot be had, or is not what it should be; what came through is kept to go on from."""


class ExportError(TrainingError):
    """An export that does not reproduce its checkpoint; nothing was written."""

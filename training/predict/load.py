"""Find the model that a user names: a checkpoint, a run, an artifact, or a name in the model repository."""

from pathlib import Path

from training.errors import CheckpointError
from training.export.artifact.stored_manifest import REPOSITORY
from training.predict.model import Model
from training.predict.open import MANIFEST_FILE, open_artifact, open_checkpoint
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE, STARTER, SUFFIX, find_checkpoint

ON_THE_CPU = ("openvino", "onnx", "npu")  # export targets; the first that the repository has is loaded


def load(model: str | Path, *, device: str | None = None, repository: Path = REPOSITORY) -> Model:
    """Load a model like training.load; if `model` is a name, look it up in the folder `repository`."""
    path = Path(model)
    found = _in_folder(path) if path.is_dir() else path
    if not path.exists():
        found = _by_name(str(model), repository)
    if (found / MANIFEST_FILE).is_file():
        return Model(open_artifact(found, device))
    if found.suffix.lower() in (".pt", ".pth"):
        raise CheckpointError(f"{found}: convert it first, with python -m training convert {found}")
    if found.suffix.lower() != SUFFIX:
        raise CheckpointError(
            f"{found} is not a model: give a {SUFFIX} file, or the folder of a run or artifact"
        )
    return Model(open_checkpoint(found, device))


def _in_folder(folder: Path) -> Path:
    """Return what to load from a folder that a user names.

    The folder of one version of an artifact is returned unchanged. From a folder of several versions, the
    folder of the newest version is returned. From the folder of a run, the checkpoint that was best on
    the validation images is returned; if the run had no validation, its last checkpoint is returned.
    """
    if (folder / MANIFEST_FILE).is_file():
        return folder
    versions = [
        path.parent for path in folder.glob(f"[0-9]*/{MANIFEST_FILE}") if path.parent.name.isdecimal()
    ]
    if versions:
        return max(versions, key=lambda version: int(version.name))
    if any((folder / name).is_file() for name in (BEST_FILE, MODEL_FILE)):
        return find_checkpoint(folder)
    raise CheckpointError(
        f"{folder} holds no model: neither {BEST_FILE} nor {MODEL_FILE} of a finished training run, "
        f"nor {MANIFEST_FILE} of an exported artifact"
    )


def _by_name(name: str, repository: Path) -> Path:
    if "/" not in name:
        for folder in (name, *(f"{name}-{target}" for target in ON_THE_CPU)):
            if any((repository / folder).glob(f"[0-9]*/{MANIFEST_FILE}")):
                return _in_folder(repository / folder)
        if name == "starter":
            return STARTER
    known = sorted({path.parents[1].name for path in repository.glob(f"*/[0-9]*/{MANIFEST_FILE}")})
    raise CheckpointError(
        f"no model {name}: there is no such file or folder, and {repository} has: "
        f"{', '.join(known) or 'none'}"
    )

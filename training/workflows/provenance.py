"""The origin of a model's initial weights, as stated in its checkpoint and the manifests of its exports."""

from collections.abc import Mapping
from pathlib import Path

from training.config import TASKS
from training.files import sha256_of
from training.tasks.choose import task_named
from training.trainer.checkpoint import load_provenance

BEST_BY = tuple(task_named(name).best_by for name in TASKS)
OF_THE_RUN = ("recipe", "data", "step", "epoch", *BEST_BY)  # fields that describe only the last run


def origin_of(checkpoint: Path) -> dict[str, str]:
    """Return the provenance of a model whose training starts from this checkpoint.

    The provenance keeps the source and the licence that the checkpoint states, and adds the checkpoint's
    name, sha256 and training data. If each of several trainings starts from the weights of the previous one,
    the last checkpoint therefore still states the source and licence of the very first weights.

    Raises:
        CheckpointError: the file does not exist, or is not a checkpoint of this project.
    """
    stored = load_provenance(checkpoint)
    carried = {name: value for name, value in stored.items() if name not in OF_THE_RUN}
    before = stored.get("begun from")
    carried["begun from"] = checkpoint.name + (f", begun from {before}" if before else "")
    carried["begun from sha256"] = sha256_of(checkpoint)
    # Only the name of the folder: checkpoints are shared.
    data = (stored.get("begun from data"), Path(stored.get("data", "")).name)
    seen = ", ".join(filter(None, data))
    return {**carried, "begun from data": seen} if seen else carried


def checkpoint_in_words(provenance: Mapping[str, str]) -> str:
    """Return a checkpoint's epoch as text, and its validation score if it is the best checkpoint of a run."""
    if "epoch" not in provenance:
        return ""
    best = next((f"{name} {float(provenance[name]):.3f}" for name in BEST_BY if name in provenance), None)
    return f"epoch {provenance['epoch']}" + (f", the best by validation: {best}" if best else "")


def origin_in_words(provenance: Mapping[str, str]) -> str:
    """Return the source, licence and training data of the initial weights as text; empty if not stated."""
    words = []
    if "source" in provenance:
        kind = provenance.get("source kind")
        words.append(
            f"weights of {provenance['source']}{f' ({kind})' if kind else ''}, "
            f"licence: {provenance.get('source license', 'the file states none')}"
        )
    if "begun from" in provenance:
        data = provenance.get("begun from data")
        words.append(f"begun from {provenance['begun from']}{f', trained on {data}' if data else ''}")
    return "; ".join(words)

"""Whose weights a model began with: what its checkpoint says of that, and the manifests of its exports."""

from collections.abc import Mapping
from pathlib import Path

from training.config import TASKS
from training.files import sha256_of
from training.tasks.choose import task_named
from training.trainer.checkpoint import load_provenance

BEST_BY = tuple(task_named(name).best_by for name in TASKS)
OF_THE_RUN = ("recipe", "data", "step", "epoch", *BEST_BY)  # said anew by the one that goes on from there


def origin_of(checkpoint: Path) -> dict[str, str]:
    """Return what a model that is trained from this checkpoint says of it, beside what its own run was.

    Where the checkpoint's own weights are from, under which licence, comes along, however many trainings
    lie between.

    Raises:
        CheckpointError: no such file, or none of ours.
    """
    told = load_provenance(checkpoint)
    carried = {name: value for name, value in told.items() if name not in OF_THE_RUN}
    before, data = told.get("begun from"), (told.get("begun from data"), folder_name(told.get("data", "")))
    carried["begun from"] = checkpoint.name + (f", begun from {before}" if before else "")
    carried["begun from sha256"] = sha256_of(checkpoint)
    seen = ", ".join(each for each in data if each)
    return {**carried, "begun from data": seen} if seen else carried


def origin_in_words(provenance: Mapping[str, str]) -> str:
    """Return whose weights, under which licence, trained on what before; empty if all began here."""
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


def folder_name(data: str) -> str:
    """Return the last part of the path of the training data: artifacts are given to others."""
    return Path(data).name if data else ""

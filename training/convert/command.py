"""The command `python -m training convert`."""

import logging
import re
import shlex
from pathlib import Path

from training.convert.convert import Conversion, read_foreign
from training.convert.expect import as_table, compare, read_expected
from training.errors import CheckpointError
from training.models.network import count_parameters
from training.trainer.checkpoint import SUFFIX, check_output, save_model

NAME_LENGTH = 64  # characters; limit for names of served models

log = logging.getLogger(__name__)


def convert(
    path: Path,
    output: Path | None = None,
    *,
    input_hw: tuple[int, int] | None = None,
    expect: Path | None = None,
) -> Path:
    """Convert a foreign checkpoint to ours, and return the path of the converted file.

    Args:
        path: a .pt file that the training of YOLO12 or YOLO-Master wrote.
        output: the path to write, where no file may exist; None: `path` with the suffix of our checkpoints.
        input_hw: height and width of the model input; None: the size that the file was trained at.
        expect: an .npz file with images and the original network's outputs for them. The converted network
            must reproduce these outputs.

    Raises:
        CheckpointError: the file cannot be converted exactly, or the outputs differ. No file is written then.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    if path.suffix.lower() == SUFFIX:
        raise CheckpointError(f"{path} is no .pt: convert reads a .pt and writes a {SUFFIX} file")
    output = output or path.with_suffix(SUFFIX)
    if output.exists() and output.samefile(path):
        raise CheckpointError(f"--output is {path} itself, the file to convert; give another path")
    check_output(output)
    conversion = read_foreign(path, input_hw)
    answers = None if expect is None else read_expected(expect, conversion.model.config.task)
    log.info(report(conversion))
    if answers is not None:
        differences = compare(conversion.model, answers)
        log.info(as_table(differences))
        if not all(each.within for each in differences):
            raise CheckpointError(f"{path} answers differently after conversion; nothing was written")
    save_model(output, conversion.model, _provenance(path, conversion))
    log.info(f"wrote {output}\n{next_steps(output)}")
    return output


def report(conversion: Conversion) -> str:
    """Return a description of the converted model, one fact per line."""
    config = conversion.model.config
    fixed = "" if config.task == "classify" else f", and {config.reg_max} fixed ones in the file"
    lines = [
        f"{conversion.recognised.family}, here {config.variant}",
        f"  classes     {len(config.class_names)}: {_shortened(config.class_names)}",
        f"  input       {config.input_hw[0]}x{config.input_hw[1]}",
        f"  parameters  {count_parameters(conversion.model):,}{fixed}",
        f"  tensors     {conversion.tensors:,}, {'averaged' if conversion.found.averaged else 'as saved'}",
    ]
    if config.keypoints:
        lines.append(f"  keypoints   {len(config.keypoints)}: {_shortened(config.keypoints)}")
    for place, mixture in config.mixtures.items():
        lines.append(f"  {place:<11} {mixture.num_experts} experts, {mixture.top_k} run for each image")
    return "\n".join([*lines, *(f"  note: {note}" for note in conversion.recognised.notes)])


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def next_steps(output: Path) -> str:
    """Return the commands that evaluate and export a converted file, one per line."""
    name = re.sub(r"[^a-z0-9_.-]+", "-", output.stem.lower()).lstrip("_.-")[:NAME_LENGTH] or "model"
    file = shlex.quote(str(output))
    return (
        f"measure it:  python -m training evaluate {file} --data FOLDER\n"
        f"export it:   python -m training export {file} --name {name}"
    )


def _provenance(path: Path, conversion: Conversion) -> dict[str, str]:
    notes = {"note": "; ".join(conversion.recognised.notes)} if conversion.recognised.notes else {}
    return {
        "data": "",
        "source": path.name,
        "source sha256": conversion.sha256,
        "source kind": conversion.recognised.family,
        **{f"source {name}": value for name, value in conversion.found.metadata.items()},
        **notes,
    }

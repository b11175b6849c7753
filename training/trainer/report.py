"""Report the progress of a run as a progress bar, as JSON lines, and as curves for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from training.errors import TrainingError
from training.files import write_atomically
from training.progress import hidden
from training.trainer.checkpoint import Position

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

METRICS_FILE = "metrics.jsonl"
CURVES_FOLDER = "tensorboard"


def figures(scores: Mapping[str, float]) -> str:
    """Return one line of text with the names and values of scores."""
    return "  ".join(f"{name} {value:.3f}" for name, value in scores.items())


class Report:
    """The progress bar, the metrics file and TensorBoard's events of one run.

    Args:
        run_dir: folder of the files. None: report nothing; all processes except the first pass None.
        resumed_step: step at which the run resumes. Lines of later steps are removed from the metrics file,
            because the run takes these steps again.
        tensorboard: whether to write every number for TensorBoard too. If so, TrainingError is raised if
            TensorBoard is not installed.
    """

    def __init__(
        self, run_dir: Path | None, total_steps: int, resumed_step: int, *, tensorboard: bool = False
    ) -> None:
        self._file, self._curves = None, None
        if run_dir is not None:
            self._curves = _open_curves(run_dir / CURVES_FOLDER, resumed_step) if tensorboard else None
            _drop_after(run_dir / METRICS_FILE, resumed_step)
            self._file = (run_dir / METRICS_FILE).open("a", encoding="utf-8")
        self._bar = tqdm(
            total=total_steps,
            initial=resumed_step,
            unit="step",
            disable=hidden() or run_dir is None,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        for each in (self._file, self._curves):
            if each is not None:
                each.close()

    def step(self, position: Position, epochs: int, scalars: Mapping[str, float]) -> None:
        """Advance the bar by one optimizer step; `position` is the progress of the run after this step."""
        self._bar.set_description(f"epoch {position.epoch + 1}/{epochs}", refresh=False)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in scalars.items()}, refresh=False)
        self._bar.update()
        self._add_curves("step", position.step, scalars)

    def record(self, step: int, scalars: Mapping[str, float | str]) -> None:
        """Append `scalars`, by name, as one line to the metrics file."""
        if self._file is not None:
            self._file.write(json.dumps({"step": step, **scalars}) + "\n")
            self._file.flush()
        self._add_curves(str(scalars["kind"]), step, scalars)

    def _add_curves(self, kind: str, step: int, scalars: Mapping[str, float | str]) -> None:
        if self._curves is not None:
            for name, value in scalars.items():
                if isinstance(value, int | float):
                    self._curves.add_scalar(f"{kind}/{name}", value, step)


def _open_curves(folder: Path, resumed_step: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "--tensorboard needs the package tensorboard: "
            "pip install --constraint constraints.txt '.[tensorboard]', or leave the flag out"
        ) from error
    # With purge_step, TensorBoard hides numbers of this step and later, which a crashed run has written.
    return SummaryWriter(str(folder), purge_step=resumed_step + 1)


def _drop_after(path: Path, step: int) -> None:
    """Remove all lines about steps after `step` from a metrics file."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # the line that was being written when the process or the machine died
    write_atomically(path, "".join(kept))

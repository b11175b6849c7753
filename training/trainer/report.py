"""What a run tells while it works: a progress bar for people, JSON lines for machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


def figures(scores: Mapping[str, float]) -> str:
    """Figures in a row, for people."""
    return "  ".join(f"{name} {value:.3f}" for name, value in scores.items())


class Report:
    """Owns the progress bar and the metrics file of one run.

    Args:
        resumed_step: lines of later steps, written before a crash and about to be repeated, are dropped.
    """

    def __init__(self, run_dir: Path, total_steps: int, resumed_step: int, *, quiet: bool) -> None:
        self._path = run_dir / METRICS_FILE
        self._drop_after(resumed_step)
        self._file = self._path.open("a", encoding="utf-8")
        self._bar = tqdm(
            total=total_steps,
            initial=resumed_step,
            unit="step",
            disable=quiet,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._file.close()

    def step(self, epoch: int, epochs: int, scalars: Mapping[str, float]) -> None:
        """Advance the bar by one optimizer step."""
        self._bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in scalars.items()}, refresh=False)
        self._bar.update()

    def record(self, step: int, scalars: Mapping[str, float | str]) -> None:
        """Append one line."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()

    def say(self, message: str) -> None:
        """A sentence for people, above the bar."""
        self._bar.write(message)

    def _drop_after(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue  # the line that was being written when the process died
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(self._path)

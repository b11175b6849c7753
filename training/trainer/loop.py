"""The training loop: batches in, an averaged model and a checkpoint out."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import TrainConfig
from training.config_json import to_json
from training.data.loader import Batch, TrainingLoader
from training.data.sample import Dataset
from training.errors import CheckpointError, TrainingError
from training.losses.detection import LossTerms, detection_loss
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    Position,
    load_matching_weights,
    load_state,
    read_state_config,
    save_model,
    save_state,
)
from training.trainer.ema import WeightAverage
from training.trainer.interrupt import StopRequest
from training.trainer.optimizer import build_optimizer, learning_rate
from training.trainer.report import Report, figures

STEPS_APART = 10**9  # of two seeds: more steps than any run has

Evaluate = Callable[[Detector], Mapping[str, float]]
Describe = Callable[[Mapping[str, float]], str]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    finished: bool  # False: stopped on request; the same command goes on
    position: Position
    model_path: Path


def compute_device() -> torch.device:
    """CUDA if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Half precision to compute in, or None for f32. `auto` takes it only where it is quicker."""
    match config.precision:
        case "f32":
            return None
        case "bf16":
            return torch.bfloat16
        case "f16":
            return torch.float16
        case "auto" if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        case "auto":
            return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


class Trainer:
    """Owns the model, its average, the optimizer and the files of one run."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        run_dir: Path,
        *,
        initial_weights: Path | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.run_dir = run_dir
        self.device = compute_device()
        self.provenance = dict(provenance or {})
        torch.manual_seed(config.seed)
        model = Detector(config.model)
        self.untouched_weights = load_matching_weights(initial_weights, model) if initial_weights else []
        # Channels-last is what both CPU and GPU convolutions run in.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.average = WeightAverage(self.model, config.optimizer)
        self.dtype = autocast_dtype(config, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.position = Position(epoch=0, batch=0, step=0)
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the state in run_dir.

        Raises:
            CheckpointError: there is none, it is damaged, or it belongs to a run with other settings.
        """
        path = self.run_dir / STATE_FILE
        if to_json(read_state_config(path)) != to_json(self.config):
            raise CheckpointError(
                f"{self.run_dir} holds a run with other settings; give those to go on, or another --run"
            )
        models = (self.model, self.average.model)
        self.position = load_state(path, models, self.optimizer, self.scaler)

    def run(
        self, evaluate: Evaluate | None = None, *, describe: Describe = figures, quiet: bool = False
    ) -> Outcome:
        """Train to the end, or to the first Ctrl-C or SIGTERM; either way a checkpoint is left.

        Args:
            evaluate: gives the figures of a validation.
            describe: puts them into words for people.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        config = self.config
        with StopRequest() as stop, TrainingLoader(self.dataset, config) as loader:
            (self.run_dir / "config.json").write_text(to_json(config) + "\n", encoding="utf-8")
            total = len(loader) * config.epochs
            with Report(self.run_dir, total, self.position.step, quiet=quiet) as report:
                while self.position.epoch < config.epochs:
                    self._epoch(loader, report, stop)
                    if stop.requested:
                        self._save()
                        return Outcome(False, self.position, self.run_dir / MODEL_FILE)
                    self._evaluate(evaluate, describe, report)
                    self.position = Position(self.position.epoch + 1, 0, self.position.step)
        self._save()
        return Outcome(True, self.position, self.run_dir / MODEL_FILE)

    def _epoch(self, loader: TrainingLoader, report: Report, stop: StopRequest) -> None:
        epoch, batches, first = self.position.epoch, len(loader), self.position.batch
        if first == batches:  # stopped after the last batch: its evaluation is all that is missing
            return
        sums, started = [0.0] * len(LossTerms._fields), time.monotonic()
        for batch in loader.epoch(epoch, start_batch=first):
            if time.monotonic() - self._saved_at > self.config.checkpoint_every_s:
                self._save()
            lr = self._set_learning_rate(batches)
            terms = torch.stack(self._step(batch)).tolist()
            if not math.isfinite(terms[0]):
                raise TrainingError(
                    f"the loss of step {self.position.step + 1} is {terms[0]}; try a lower learning rate. "
                    "The last checkpoint is from before it."
                )
            sums = [a + b for a, b in zip(sums, terms, strict=True)]
            done = self.position.batch + 1
            self.position = Position(epoch, done, self.position.step + 1)
            self.average.update(self.model, self.position.step)
            speed = (done - first) * self.config.batch_size / (time.monotonic() - started)
            shown = dict(zip(("box", "cls", "dfl", "route"), terms[1:], strict=True))
            report.step(epoch, self.config.epochs, {**shown, "img/s": speed})
            if stop.requested and done < batches:
                return
        means = {name: value / (batches - first) for name, value in zip(LossTerms._fields, sums, strict=True)}
        report.record(
            self.position.step,
            {"kind": "train", "epoch": epoch + 1, **means, "lr": lr, "images_per_s": round(speed, 2)},
        )

    def _set_learning_rate(self, batches: int) -> float:
        optimizer = self.config.optimizer
        total = batches * self.config.epochs
        # A run of fewer epochs than the warm-up would never reach its learning rate.
        warmup = min(round(optimizer.warmup_epochs * batches), total // 3)
        lr = learning_rate(optimizer, self.position.step, warmup, total)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _step(self, batch: Batch) -> LossTerms:
        # Noise and dropout of routers belong to the step: a resumed run draws what one that ran through drew.
        torch.manual_seed(STEPS_APART * self.config.seed + self.position.step)
        batch = batch.to(self.device, non_blocking=True)
        self.model.train()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            predictions = self.model(batch.images, self._controls(len(batch.images)))
        truth = (batch.boxes_xyxy, batch.class_ids, batch.image_ids)
        ignored = (batch.ignored_xyxy, batch.ignored_image_ids)
        terms = detection_loss(self.model, predictions, truth, self.config.loss, ignored)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(terms.total).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return LossTerms(*(term.detach() for term in terms))

    def _controls(self, images: int) -> RoutingControls | None:
        """Every picture's own top_k, so that the model learns to answer with any of them."""
        if not self.config.top_ks:
            return None
        drawn = torch.randint(len(self.config.top_ks), (images, 1))
        top_k = torch.tensor(self.config.top_ks)[drawn].to(self.device)
        return RoutingControls(top_k, self.config.model.weight_threshold)

    def _evaluate(self, evaluate: Evaluate | None, describe: Describe, report: Report) -> None:
        epoch = self.position.epoch + 1
        due = epoch % self.config.evaluate_every_epochs == 0 or epoch == self.config.epochs
        if evaluate is None or not due:
            return
        scores = evaluate(self.average.model)
        report.record(self.position.step, {"kind": "evaluate", "epoch": epoch, **scores})
        report.say(f"epoch {epoch}: {describe(scores)}")

    def _save(self) -> None:
        models = (self.model, self.average.model)
        save_state(self.run_dir / STATE_FILE, self.config, self.position, models, self.optimizer, self.scaler)
        provenance = {**self.provenance, "step": str(self.position.step), "epoch": str(self.position.epoch)}
        save_model(self.run_dir / MODEL_FILE, self.average.model, provenance)
        self._saved_at = time.monotonic()

"""The training loop, which trains a model on batches, averages its weights, and writes checkpoints."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from training.config import TrainConfig
from training.config_json import differences, to_json
from training.data.loading.batch import Batch
from training.data.loading.loader import CACHE_BYTES, TrainingLoader
from training.data.sample import Dataset
from training.errors import CheckpointError, ConfigError, TrainingError
from training.files import write_atomically
from training.losses.terms import LossTerms
from training.models.network import Network
from training.tasks.choose import task_named
from training.trainer.checkpoint import (
    BEST_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    STATE_FILE,
    Best,
    Position,
    load_matching_weights,
    load_state,
    read_state_config,
    save_model,
    save_state,
)
from training.trainer.deterministic import deterministic_algorithms
from training.trainer.distributed import ALONE, Processes, ProcessLost, synchronise_batch_norm
from training.trainer.ema import WeightAverage
from training.trainer.interrupt import StopRequest
from training.trainer.optimizer import build_optimizer, learning_rate, path_softness
from training.trainer.report import Report, figures
from training.trainer.step import Stepper

log = logging.getLogger(__name__)

# Settings that can differ when a run resumes, because no step depends on them.
FREE_ON_RESUMING = ("patience", "evaluate_every_epochs", "checkpoint_every_s", "loader_workers")
SHOWN = 5  # differing settings in an error

Evaluate = Callable[[Network], Mapping[str, float]]
Describe = Callable[[Mapping[str, float]], str]


@dataclass(frozen=True)
class Outcome:
    """The result of a run: whether it finished, its progress, and the files of its models."""

    finished: bool  # False: stopped on request; the same command resumes
    position: Position
    model_path: Path
    best_path: Path | None = None  # model of the best evaluation; None: there was no evaluation
    best_by: str = ""  # name of the metric that chooses the best evaluation


def compute_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return ALONE.device()


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the half precision to compute in, or None for float32.

    With precision `auto`, compute in bf16 if the device supports bf16. On other devices, compute in f16 on a
    GPU, and in float32 on a CPU. Raise ConfigError if f16 is requested on a CPU, where f16 is slower than
    both bf16 and float32.
    """
    match config.precision:
        case "f32":
            return None
        case "bf16":
            return torch.bfloat16
        case "f16" if device.type == "cpu":
            raise ConfigError("precision f16 is for GPUs; use bf16, f32 or auto")
        case "f16":
            return torch.float16
        case "auto" if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        case "auto":
            return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None


class Trainer:
    """A training run: its model, the averaged model, the optimizer and the files."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        run_dir: Path,
        *,
        initial_weights: Path | None = None,
        provenance: Mapping[str, str] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Build the model, the average of its weights, and the optimizer.

        Raises:
            ConfigError: a batch cannot be divided among the processes.
            CheckpointError: `initial_weights` cannot be read, or none of its tensors fits the model.
        """
        config.check_parts(processes.size)
        self.config = config
        self.dataset = dataset
        self.run_dir = run_dir
        self.processes = processes
        self.device = processes.device()
        self.provenance = dict(provenance or {})
        self.task = task_named(config.model.task)
        torch.manual_seed(config.seed)
        model = self.task.build(config.model)
        if initial_weights:
            load_matching_weights(initial_weights, model)
        # Convolutions are fastest in channels-last order, on CPUs and GPUs.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.model, config.optimizer)
        if processes.size > 1 and self.device.type == "cuda":
            self.model = synchronise_batch_norm(self.model)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.dtype = autocast_dtype(config, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.stepper = Stepper(
            config=config,
            task=self.task,
            model=self.model,
            optimizer=self.optimizer,
            scaler=self.scaler,
            dtype=self.dtype,
            device=self.device,
            processes=processes,
        )
        self.position = Position(epoch=0, batch=0, step=0)
        self.best = Best()
        self._saved_at = time.monotonic()

    def resume(self) -> None:
        """Load the state in run_dir, even if a different number of processes saved it.

        A run can be lengthened: `epochs` can be larger than before. After this call, the learning rate and
        the augmentation follow the schedule of the new length. So a stopped run ends as if it had been
        started with the new length. If the run was already finished, its learning rate rises again. This is
        intended: at the final learning rate, the model would learn next to nothing in further epochs.

        Raise CheckpointError if there is no state, or if the state is damaged. Raise it also if the state is
        of a run with other settings.
        """
        path, config = self.run_dir / STATE_FILE, self.config
        stored = read_state_config(path)
        found = differences(asdict(stored), asdict(config))
        free = FREE_ON_RESUMING if config.epochs < stored.epochs else ("epochs", *FREE_ON_RESUMING)
        if refused := [text for setting, text in found.items() if setting not in free]:
            more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
            raise CheckpointError(
                f"{self.run_dir} has a run with other settings: {'; '.join(refused[:SHOWN])}{more}. Give the "
                f"old values, or start another run: --weights {self.run_dir / MODEL_FILE} --run ANOTHER"
            )
        if config.epochs > stored.epochs:
            log.info(
                f"epochs {stored.epochs}, now {config.epochs}: from here on, the learning rate and the "
                f"augmentation are those of a run of {config.epochs} epochs"
            )
        models = (self.model, self.average.model)
        self.position, self.best, provenance = load_state(path, models, self.optimizer, self.scaler)
        self.provenance |= provenance
        if self.best.score is not None and not (self.run_dir / BEST_FILE).is_file():
            log.info(f"{BEST_FILE} is gone: the next evaluation writes it, whatever its {self.task.best_by}")
            self.best = Best()

    def run(
        self, evaluate: Evaluate | None = None, *, describe: Describe = figures, tensorboard: bool = False
    ) -> Outcome:
        """Train to the end, or until the first Ctrl-C or SIGTERM; in both cases, write a checkpoint.

        A signal immediately ends a validation, the wait for a batch, or the decoding of images. But an
        optimizer step that has begun is completed. A checkpoint is also written if images cannot be loaded,
        or if a loader process ends.

        Args:
            evaluate: returns the metrics of a model on the validation data.
            describe: turns these metrics into text for the log.

        Raises:
            TrainingError: a loss is not finite, memory runs out, or `tensorboard` is true and the package is
                not installed.
            ConfigError: the configuration sets patience, but `evaluate` is None.
            CheckpointError: run_dir is not the same folder for all processes.
            DatasetError: an image cannot be loaded or augmented.
            LoaderError: a loader process has ended or cannot start.
            ProcessLost: another process of the run has ended.
        """
        config, first = self.config, self.processes.first
        if config.patience and evaluate is None:
            raise ConfigError(f"patience={config.patience} counts evaluations, but the run has none")
        if not self.processes.same(self.position.step, self.device):
            raise CheckpointError(f"{self.run_dir} must be the same folder for all processes; share it")
        self.run_dir.mkdir(parents=True, exist_ok=True)
        share, cache_bytes = self.processes.share, CACHE_BYTES // self.processes.size
        with deterministic_algorithms(config.deterministic), StopRequest() as stop:
            with TrainingLoader(self.dataset, config, self.task, cache_bytes, share=share) as loader:
                total = len(loader) * config.epochs
                if first:
                    write_atomically(self.run_dir / CONFIG_FILE, to_json(config) + "\n")
                folder = self.run_dir if first else None
                with Report(folder, total, self.position.step, tensorboard=tensorboard) as report:
                    validate = partial(self._evaluate, evaluate, describe, report, stop)
                    finished = self._epochs(loader, report, stop, validate)
            self._save()
        best = self.run_dir / BEST_FILE if self.best.score is not None else None
        return Outcome(finished, self.position, self.run_dir / MODEL_FILE, best, self.task.best_by)

    def _epochs(
        self, loader: TrainingLoader, report: Report, stop: StopRequest, validate: Callable[[], bool | None]
    ) -> bool:
        """Train epoch by epoch; return True at the end of training, False after a requested stop."""
        while self.position.epoch < self.config.epochs and not self._out_of_patience():
            if self._epoch(loader, report, stop):
                return False
            evaluated = validate()
            if evaluated is None:
                return False
            self.position = Position(self.position.epoch + 1, 0, self.position.step)
            if evaluated:
                self._save()  # so that the state includes this evaluation
        return True

    def _epoch(self, loader: TrainingLoader, report: Report, stop: StopRequest) -> bool:
        """Train one epoch; return True if a requested stop ended it early, else False."""
        epoch, batches, first = self.position.epoch, len(loader), self.position.batch
        if first >= batches:  # stopped after the last batch and before the evaluation, or images were removed
            return False
        sums, started = dict[str, float](), time.monotonic()
        loading = loader.epoch(epoch, start_batch=first)
        for done in range(first + 1, batches + 1):
            parts = self._next(loading, stop)
            if not parts:
                return True
            if time.monotonic() - self._saved_at > self.config.checkpoint_every_s:
                self._save()
            lr = self._set_learning_rate(batches)
            softness = path_softness(self.config, self.position.step, batches * self.config.epochs)
            terms = _as_numbers(self._step(parts, softness))
            if not math.isfinite(terms["total"]):
                raise TrainingError(
                    f"the loss of step {self.position.step + 1} is {terms['total']}; try a lower learning "
                    "rate. The last checkpoint is of an earlier step."
                )
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
            self.position = Position(epoch, done, self.position.step + 1)
            self.average.update(self.model, self.position.step)
            speed = (done - first) * self.config.batch_size / (time.monotonic() - started)
            shown = {name: value for name, value in terms.items() if name != "total"}
            report.step(self.position, self.config.epochs, {**shown, "img/s": speed})
        means = {name: value / (batches - first) for name, value in sums.items()}
        report.record(
            self.position.step,
            {"kind": "train", "epoch": epoch + 1, **means, "lr": lr, "images_per_s": round(speed, 2)},
        )
        return False

    def _next(self, loading: Iterator[Batch], stop: StopRequest) -> list[Batch]:
        """Return the parts of the next batch, or an empty list if any process was asked to stop.

        Before every step, the processes tell one another whether they were asked to stop. So all processes
        end after the same step. If any process fails to load its images, process 0 saves the state, and then
        every process raises an error. A process that failed raises its own error, and the others raise
        ProcessLost.
        """
        parts, failure = None, None
        try:
            parts = stop.unless_requested(lambda: list(islice(loading, self.config.accumulate)))
        except TrainingError as error:
            failure = error
        if not self.processes.any(parts is None, self.device):
            return parts or []
        if self.processes.any(failure is not None, self.device):
            self._save()
            log.info(f"saved after {self.position.step} steps; the same command resumes")
            # Wait until the first process has saved: torchrun ends all processes as soon as one has ended.
            self.processes.any(False, self.device)
            raise failure or ProcessLost()
        return []

    def _set_learning_rate(self, batches: int) -> float:
        optimizer = self.config.optimizer
        total = batches * self.config.epochs
        # A run shorter than the warm-up would never reach its learning rate.
        warmup = min(round(optimizer.warmup_epochs * batches), total // 3)
        lr = learning_rate(optimizer, self.position.step, warmup, total)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _step(self, parts: Sequence[Batch], softness: float = 0.0) -> LossTerms:
        try:
            return self.stepper.take(parts, self.position.step, softness)
        except (MemoryError, RuntimeError) as error:
            if not _of_memory(error):
                raise
            raise TrainingError(
                f"memory ran out in step {self.position.step + 1} ({str(error).partition('. ')[0]}); start "
                "another run with a smaller --batch or --input, or with --accumulate 2 or more"
            ) from error

    def _evaluate(
        self, evaluate: Evaluate | None, describe: Describe, report: Report, stop: StopRequest
    ) -> bool | None:
        """Save the state and evaluate the averaged model, if an evaluation is due after this epoch.

        Only the first process evaluates. Return True if an evaluation was due, else False. Return None if an
        evaluation was due, but a requested stop prevented or interrupted it.
        """
        epoch = self.position.epoch + 1
        due = epoch % self.config.evaluate_every_epochs == 0 or epoch == self.config.epochs
        if evaluate is None or not due:
            return False
        self._save()  # so that a validation that fails loses nothing
        scores: Mapping[str, float] | None = {}
        if self.processes.first:
            try:
                scores = stop.unless_requested(lambda: evaluate(self.average.model))
            except (TrainingError, OSError, MemoryError, torch.OutOfMemoryError) as error:
                raise TrainingError(
                    f"the validation after epoch {epoch} failed: {error}. Nothing is lost: the model is in "
                    f"{self.run_dir / MODEL_FILE}, and the same command resumes with this validation"
                ) from error
        if self.processes.any(scores is None, self.device):
            return None
        if self.processes.first and scores is not None:
            report.record(self.position.step, {"kind": "evaluate", "epoch": epoch, **scores})
            log.info(f"epoch {epoch}: {describe(scores)}")
            self._keep_best(scores, epoch)
        return True

    def _keep_best(self, scores: Mapping[str, float], epoch: int) -> None:
        best_by, best = self.task.best_by, self.best
        if best_by not in scores:
            return
        score = scores[best_by]
        if best.score is not None and not score > best.score:
            self.best = replace(best, stale=best.stale + 1)
            return
        self.best = Best(score, epoch)
        self._save_model(BEST_FILE, epoch, **{best_by: f"{score:.6f}"})

    def _out_of_patience(self) -> bool:
        patience, best = self.config.patience, self.best
        if not self.processes.any(0 < patience <= best.stale, self.device):
            return False
        log.info(
            f"no better {self.task.best_by} in {best.stale} evaluations: epoch {best.epoch} was the best; "
            "with a larger --patience, the run continues"
        )
        return True

    def _save(self) -> None:
        if self.processes.first:
            path, models = self.run_dir / STATE_FILE, (self.model, self.average.model)
            config, progress = self.config, (self.position, self.best)
            save_state(
                path, config, progress, models, self.optimizer, self.scaler, provenance=self.provenance
            )
            self._save_model(MODEL_FILE, self.position.epoch)
        self._saved_at = time.monotonic()

    def _save_model(self, name: str, epoch: int, **scores: str) -> None:
        """Write the averaged model to a file, with step, epoch and scores in its provenance."""
        provenance = {**self.provenance, "step": str(self.position.step), "epoch": str(epoch), **scores}
        save_model(self.run_dir / name, self.average.model, provenance)


def _of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    If memory runs out on a CPU, torch raises a RuntimeError. Only its message shows that it is about memory.
    """
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _as_numbers(terms: LossTerms) -> dict[str, float]:
    """Return the loss and its parts by name; if they are on a GPU, copy all of them in one transfer."""
    values = torch.stack([terms.total, *terms.parts.values()]).tolist()
    return dict(zip(("total", *terms.parts), values, strict=True))

"""Take one optimizer step with this process's share of a batch, which can be divided into several parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.config import TrainConfig
from training.data.loading.batch import Batch
from training.losses.terms import LossTerms
from training.models.network import Network
from training.tasks.task import Task
from training.trainer.distributed import Processes

STEPS_APART = 10**9  # difference between the first seeds of two runs: more steps than any run has


@dataclass(frozen=True)
class Stepper:
    """The object that takes the optimizer steps of a run; it holds the model, the optimizer and settings."""

    config: TrainConfig
    task: Task
    model: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    dtype: torch.dtype | None  # to compute in; None: float32
    device: torch.device
    processes: Processes

    def take(self, parts: Sequence[Batch], step: int, softness: float = 0.0) -> LossTerms:
        """Update the weights once, and return the losses of the whole batch, over all parts and processes.

        Each part counts in proportion to its own weight. For a detector, the weight is the sum of the part's
        target scores, or 1 if this sum is smaller. If no sum is smaller than 1, losses and gradients are the
        same as for the undivided batch, with two exceptions: batch norms compute their statistics from each
        part alone, and routing losses are weighted means over parts.

        The weight of a part multiplies the part's gradients, not its loss. A weight can be several hundred,
        and a loss times several hundred could overflow in half precision. If the gradient of one part
        overflows, the scaler skips the step.

        Args:
            step: the step's number, counted from 0. The step's random numbers are derived from this number.
            softness: how much the paths of a network that has them are mixed; see choose_path.
        """
        top_k = self._seeded_top_k(step)
        self.model.train()
        if self.config.freeze_batch_norm:
            freeze_statistics(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        terms: list[LossTerms] = []
        for number, part in enumerate(parts):
            mine = self.processes.share.of_part(self.config, number)
            found = self._losses(part, None if top_k is None else top_k[mine], softness)
            if terms:
                torch._foreach_mul_(self._gradients(), terms[-1].weight / found.weight)
            self.scaler.scale(found.total).backward()
            terms.append(found._replace(total=found.total.detach()))
        self._apply_gradients(terms)
        return terms[0] if len(terms) == 1 else _over_parts(terms)

    def _seeded_top_k(self, step: int) -> Tensor | None:
        """Seed the step's random numbers, and return a top_k for every image of the whole batch, (B, 1).

        All processes get the same top_k values, but different random numbers for their routers.
        """
        torch.manual_seed(STEPS_APART * self.config.seed + step)
        top_k = None
        if self.config.top_ks:
            drawn = torch.randint(len(self.config.top_ks), (self.config.batch_size, 1))
            top_k = torch.tensor(self.config.top_ks)[drawn].to(self.device)
        if self.processes.rank:
            seeds = torch.randint(2**62, (self.processes.size,))
            torch.manual_seed(int(seeds[self.processes.rank]))
        return top_k

    def _losses(self, part: Batch, top_k: Tensor | None, softness: float = 0.0) -> LossTerms:
        part = part.to(self.device, non_blocking=True)
        usual = self.model.default_controls()
        controls = usual._replace(top_k=usual.top_k if top_k is None else top_k, softness=softness)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            predictions = self.model(part.images, controls)
        return self.task.loss(self.model, predictions, part, self.config.loss, self.processes.total)

    def _parameters(self) -> list[nn.Parameter]:
        return [each for group in self.optimizer.param_groups for each in group["params"]]

    def _gradients(self) -> list[Tensor]:
        return [each.grad for each in self._parameters() if each.grad is not None]

    def _apply_gradients(self, terms: Sequence[LossTerms]) -> None:
        parameters = self._parameters()
        self.processes.add_up_gradients(parameters)
        self.scaler.unscale_(self.optimizer)
        if len(terms) > 1:
            weights = torch.stack([each.weight for each in terms])
            # So far, each part's factor is its number of images × its weight / the last part's weight.
            torch._foreach_mul_(self._gradients(), len(terms) * weights[-1] / weights.sum())
        torch.nn.utils.clip_grad_norm_(parameters, self.config.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not self.config.freeze_batch_norm:
            self.processes.average_statistics(self.model)


def freeze_statistics(model: nn.Module) -> None:
    """Make batch norms use their stored statistics and not update them, until model.train() is called."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def _over_parts(terms: Sequence[LossTerms]) -> LossTerms:
    """Return the losses of the whole batch, computed from the losses of its parts."""
    weights = torch.stack([each.weight for each in terms])

    def mean(values: list[Tensor]) -> Tensor:
        return (torch.stack(values) * weights).sum() / weights.sum()

    parts = {name: mean([each.parts[name] for each in terms]) for name in terms[0].parts}
    return LossTerms(mean([each.total for each in terms]) * len(terms), parts, weights.sum())

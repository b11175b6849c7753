"""What a person may ask of Triton."""

from dataclasses import dataclass
from typing import Literal

from training.errors import ConfigError

MOST = 10_000  # of anything that is counted here
LONGEST_WAIT_S = 3600

Device = Literal["CPU", "NPU"]


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How Triton runs a model."""

    instances: int = 2
    max_queue: int = 64  # requests that may wait; one more is refused at once
    queue_timeout_s: float = 2.0  # longest wait in the queue, unless a request brings its own
    max_batch: int = (
        8  # only of target tensorrt with any batch: the others take as many as they are built for
    )
    batch_delay_s: float = 0.002  # how long a request may wait for others to share its batch
    threads: int | None = None  # of each instance on the CPU; None: the engine decides
    device: Device = "CPU"  # what runs target npu

    def __post_init__(self) -> None:
        whole = {"instances": self.instances, "max_queue": self.max_queue, "max_batch": self.max_batch}
        if self.threads is not None:
            whole["threads"] = self.threads
        for name, count in whole.items():
            if type(count) is not int or not 1 <= count <= MOST:
                raise ConfigError(f"{name}={count!r} must be a whole number from 1 to {MOST}")
        if not 1e-6 <= self.queue_timeout_s <= LONGEST_WAIT_S:  # 0 would mean: wait forever
            raise ConfigError(
                f"queue_timeout_s={self.queue_timeout_s} is outside a microsecond..{LONGEST_WAIT_S} seconds"
            )
        if not 0 <= self.batch_delay_s <= 1:
            raise ConfigError(f"batch_delay_s={self.batch_delay_s} is outside 0..1 seconds")
        if self.device not in ("CPU", "NPU"):
            raise ConfigError(f"device={self.device!r} is neither 'CPU' nor 'NPU'")

    def threads_as(self, name: str) -> dict[str, str]:
        """Return the parameter by which a backend is told its threads; none where the engine decides."""
        return {} if self.threads is None else {name: str(self.threads)}

"""Options for how Triton runs exported models: instances, queue, batches, threads and device."""

from dataclasses import dataclass
from typing import Literal

from training.errors import ConfigError

MOST = 10_000  # largest allowed count
LONGEST_WAIT_S = 3600

Device = Literal["CPU", "NPU"]


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How Triton runs a model: its instances, queue, batches, threads and device."""

    instances: int = 2
    max_queue: int = 64  # number of requests that may wait; others are refused at once
    queue_timeout_s: float = 2.0  # longest wait in the queue, unless a request sets its own
    max_batch: int = 8  # tensorrt only, if the batch is not fixed
    batch_delay_s: float = 0.002  # longest wait for other requests to share a batch
    threads: int | None = None  # threads of each instance on the CPU; None: the engine decides
    pin_threads: bool = False  # openvino only: pin the threads of each instance, from the first core on
    device: Device = "CPU"  # device that runs artifacts of target npu

    def __post_init__(self) -> None:
        whole = {"instances": self.instances, "max_queue": self.max_queue, "max_batch": self.max_batch}
        if self.threads is not None:
            whole["threads"] = self.threads
        for name, count in whole.items():
            if type(count) is not int or not 1 <= count <= MOST:
                raise ConfigError(f"{name}={count!r} must be a whole number from 1 to {MOST}")
        if not 1e-6 <= self.queue_timeout_s <= LONGEST_WAIT_S:  # in Triton, 0 means to wait forever
            raise ConfigError(
                f"queue_timeout_s={self.queue_timeout_s} is outside a microsecond..{LONGEST_WAIT_S} seconds"
            )
        if not 0 <= self.batch_delay_s <= 1:
            raise ConfigError(f"batch_delay_s={self.batch_delay_s} is outside 0..1 seconds")
        if self.device not in ("CPU", "NPU"):
            raise ConfigError(f"device={self.device!r} is neither 'CPU' nor 'NPU'")

    def threads_as(self, name: str) -> dict[str, str]:
        """Return the backend parameter `name` with the number of threads, or {} if that is None."""
        return {} if self.threads is None else {name: str(self.threads)}

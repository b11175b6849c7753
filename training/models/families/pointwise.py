"""What YOLO-Master's later mixtures share: where they stand, and experts of two 1×1 convolutions."""

from training.config import MixtureConfig

DEEP_PLACES = ("backbone.p3", "backbone.p4", "backbone.p5")
# YOLO-Master v0.1 multiplies the sum of its routers' terms by this before it adds it to the other losses.
V01_GAIN = 0.15


def pointwise(num_experts: int) -> MixtureConfig:
    """Return a mixture of equal experts beside a shared one, all of 1×1 convolutions."""
    return MixtureConfig(
        num_experts=num_experts,
        expert="simple",
        kernel_sizes=(1,) * num_experts,
        shared_kernel=1,
        activate=False,
    )

"""Gates and router probabilities to what each mixture layer decided, and what it cost."""

import numpy as np

from service.artifact.manifest import Manifest
from service.types import Compute, ExpertActivation, RawOutputs


def read_experts(outputs: RawOutputs, manifest: Manifest) -> tuple[ExpertActivation, ...]:
    """Return the activations of one image, in the manifest's order of layers.

    Args:
        outputs: by name; gates and router_probs are (1, L, Emax), a gate of 0 means "not chosen".
        manifest: names the layers and their rows.
    """
    if not manifest.mixture:
        return ()
    gates, router_probs = manifest.read(outputs, "gates"), manifest.read(outputs, "router_probs")
    activations = []
    for layer in manifest.mixture:
        gate = gates[0, layer.row, : layer.num_experts]  # (E,)
        probabilities = router_probs[0, layer.row, : layer.num_experts].astype(np.float64)
        active = np.flatnonzero(gate > 0)
        seen = probabilities[probabilities > 0]  # 0 log 0 = 0
        activations.append(
            ExpertActivation(
                layer=layer.layer,
                num_experts=layer.num_experts,
                active=tuple(active.tolist()),
                weights=tuple(gate[active].tolist()),
                probabilities=tuple(probabilities.tolist()),
                entropy_bits=max(0.0, float(-(seen * np.log2(seen)).sum())),
            )
        )
    return tuple(activations)


def compute_cost(experts: tuple[ExpertActivation, ...], manifest: Manifest) -> Compute:
    """Return what one image cost: fixed part and chosen experts, or everything if the graph is dense."""
    dense = manifest.gflops.dense
    if manifest.execution == "dense":
        return Compute(used_gflops=dense, dense_gflops=dense)
    chosen = sum(
        spec.expert_gflops[expert]
        for spec, layer in zip(manifest.mixture, experts, strict=True)
        for expert in layer.active
    )
    return Compute(used_gflops=manifest.gflops.fixed + chosen, dense_gflops=dense)

"""Find out which path an image took, which experts ran, and how much compute they used."""

import numpy as np

from service.artifact.manifest import Manifest
from service.request import Number
from service.types import Compute, ExpertActivation, PathChoice, RawOutputs


def read_experts(outputs: RawOutputs, manifest: Manifest) -> tuple[ExpertActivation, ...]:
    """Return the expert activations of one image, one per mixture layer, in the manifest's order.

    Args:
        outputs: the graph's outputs by name; gates and router_probs are (1, L, Emax). An expert with gate 0
            was not chosen.
        manifest: manifest that lists the mixture layers, each with its row in gates and router_probs.
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


def read_path(outputs: RawOutputs, manifest: Manifest) -> PathChoice | None:
    """Return the path of one image; None if the model has no paths.

    Args:
        outputs: the outputs by name; path_probs is (1, P).
        manifest: manifest of the model.
    """
    if manifest.paths is None:
        return None
    probabilities = manifest.read(outputs, "path_probs")[0]
    return PathChoice(int(probabilities.argmax()), tuple(probabilities.astype(np.float64).tolist()))


def compute_cost(
    experts: tuple[ExpertActivation, ...],
    manifest: Manifest,
    path: PathChoice | None = None,
    top_k: Number | None = None,
) -> Compute:
    """Return the compute for one image: the network without experts, plus the experts that were chosen.

    A dense graph computes every expert, so its compute is the same for every image. The manifest of a model
    with paths has the compute of each path and `top_k`.
    """
    dense = manifest.gflops.dense
    if manifest.paths is not None and path is not None and top_k is not None:
        route = manifest.paths.route(path.index, int(top_k))
        return Compute(used_gflops=route.gflops, dense_gflops=dense)
    if manifest.execution == "dense":
        return Compute(used_gflops=dense, dense_gflops=dense)
    chosen = sum(
        spec.expert_gflops[expert]
        for spec, layer in zip(manifest.mixture, experts, strict=True)
        for expert in layer.active
    )
    return Compute(used_gflops=manifest.gflops.fixed + chosen, dense_gflops=dense)

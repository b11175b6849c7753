"""Gates become active experts, weights, bits and GFLOPs."""

import numpy as np
import pytest

from service.pipeline.routing import compute_cost, read_experts


def outputs():
    gates = [[[0.75, 0, 0, 0.25], [0, 1, 0, 0]]]
    probabilities = [[[0.5, 0.25, 0.125, 0.125], [0, 1, 0, 0]]]
    return {"gates": np.array(gates, np.float32), "router_probs": np.array(probabilities, np.float32)}


def test_chosen_experts_are_listed_with_their_weights(artifact):
    first, second = read_experts(outputs(), artifact.manifest)
    assert (first.active, first.weights) == ((0, 3), (0.75, 0.25))
    assert (second.active, second.weights) == ((1,), (1.0,))


def test_padding_beyond_the_experts_of_a_layer_is_not_read(artifact):
    second = read_experts(outputs(), artifact.manifest)[1]
    assert second.num_experts == len(second.probabilities) == 3


def test_entropy_is_that_of_the_router(artifact):
    first, second = read_experts(outputs(), artifact.manifest)
    assert first.entropy_bits == pytest.approx(1.75)  # 1/2 * 1 + 1/4 * 2 + 2 * 1/8 * 3
    assert second.entropy_bits == 0


def test_sparse_execution_pays_for_what_ran(artifact):
    experts = read_experts(outputs(), artifact.manifest)
    cost = compute_cost(experts, artifact.manifest)
    assert cost.used_gflops == pytest.approx(4.0 + 0.5 + 1.0 + 0.2)
    assert cost.dense_gflops == 6.6


def test_where_no_expert_was_chosen_none_is_active_and_only_the_fixed_part_is_paid(artifact):
    """At top_k 0, which models with shared experts allow."""
    none = outputs() | {"gates": np.zeros((1, 2, 4), np.float32)}
    experts = read_experts(none, artifact.manifest)
    assert [(layer.active, layer.weights) for layer in experts] == [((), ()), ((), ())]
    assert experts[0].entropy_bits == pytest.approx(1.75), "the router has an opinion all the same"
    assert compute_cost(experts, artifact.manifest).used_gflops == 4.0


def test_dense_execution_pays_for_everything(artifact):
    dense = artifact.manifest.model_copy(update={"execution": "dense"})
    assert compute_cost(read_experts(outputs(), dense), dense).used_gflops == 6.6


def test_a_model_without_mixture_layers_has_no_activations(artifact):
    plain = artifact.manifest.model_copy(update={"mixture": ()})
    assert read_experts({}, plain) == ()
    assert compute_cost((), plain).used_gflops == 4.0

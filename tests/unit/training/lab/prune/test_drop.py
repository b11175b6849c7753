"""A pruned detector gives the original answer for images that chose no dropped expert."""

import functools
from dataclasses import replace

import pytest
import torch

from tests.training_builders import conditioned, diverse_images, shallow, shaped_model
from training.config import RouterConfig
from training.errors import ConfigError
from training.lab.prune.select import drop_experts
from training.models.mixture.routing import RoutingControls, choose_experts
from training.models.variants import model_config
from training.trainer.checkpoint import load_model, save_model

IMAGES = 24
ROUTERS = ("pooled", "moments", "spatial", "adaptive", "ultra")


@functools.cache
def small(variant="esmoe-n", router=None, **mixture):
    """A conditioned model of two mixture layers, of three in a head, with little else in it."""
    config = shallow(model_config(variant, ("disc", "ring"), (64, 64)))
    places = dict(list(config.mixtures.items())[-(3 if variant == "moehead-n" else 2) :])
    changes = mixture | ({"router": RouterConfig(kind=router)} if router else {})
    return conditioned(replace(config, mixtures={p: replace(m, **changes) for p, m in places.items()}))


@torch.inference_mode()
def answers(model, images, top_k=None):
    controls = None if top_k is None else RoutingControls(top_k, model.config.weight_threshold)
    predictions = model(images, controls, dispatch="grouped")
    return predictions.routings, torch.cat(model.decode(predictions), dim=-1)


def without_the_least_used(routings):
    """Of each layer, all experts but the one that the fewest images chose."""
    return {
        layer: tuple(e for e in range(r.gate.shape[1]) if e != int((r.gate > 0).float().mean(dim=0).argmin()))
        for layer, r in routings.items()
    }


def chose_only(kept, routings):
    """(B,) whether an image's experts all stay, in every layer."""
    stays = [r.gate[:, list(kept[layer])].sum(dim=1) for layer, r in routings.items()]
    return torch.stack([share > 1 - 1e-4 for share in stays]).all(dim=0)


CASES = [
    *(pytest.param("esmoe-n", router, None, id=router) for router in ROUTERS),
    pytest.param("modular-n", None, None, id="8 and 16 experts, gates with an epsilon"),
    pytest.param("ultra-n", None, None, id="a learned temperature, group norm"),
    pytest.param("sparsight-n", None, None, id="a shared expert"),
    pytest.param("sparsight-path-n", None, None, id="scores of paths"),
    pytest.param("moehead-n", None, 2, id="a head of which two run from now on"),
]


@pytest.mark.parametrize(("variant", "router", "top_k"), CASES)
def test_images_that_chose_no_dropped_expert_are_answered_as_before(variant, router, top_k):
    # Divided by a sum that grows, a gate moves by no more than what stands beside the sum.
    epsilon = 1e-6 if variant == "modular-n" else 0.0
    model = small(variant, router, weight_threshold=0.0, gate_epsilon=epsilon)
    images = diverse_images(IMAGES)
    routings, before = answers(model, images, top_k)
    kept = without_the_least_used(routings)
    pruned = drop_experts(model, kept, top_k)
    new_routings, after = answers(pruned, images)
    same = chose_only(kept, routings)
    assert 2 <= int(same.sum()) < IMAGES  # both kinds of images are there
    torch.testing.assert_close(after[same], before[same], rtol=1e-5, atol=1e-4 + 100 * epsilon)
    assert (after[~same] - before[~same]).abs().amax(dim=(1, 2)).min() > 1e-3  # the others are not
    for layer, routing in new_routings.items():
        rows = list(kept[layer])
        torch.testing.assert_close(
            routing.gate[same], routings[layer].gate[same][:, rows], rtol=1e-5, atol=1e-6 + 10 * epsilon
        )
        left = routings[layer].probs[same][:, rows]
        torch.testing.assert_close(routing.probs[same], left / left.sum(dim=1, keepdim=True))
        torch.testing.assert_close(routing.gate.sum(dim=1), torch.ones(IMAGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
@torch.inference_mode()
def test_masks_keypoints_and_angles_are_answered_as_before(task):
    model, images = shaped_model(task), diverse_images(IMAGES)
    before = model(images, dispatch="grouped")
    kept = without_the_least_used(before.routings)
    pruned = drop_experts(model, kept)
    after = pruned(images, dispatch="grouped")
    assert type(pruned) is type(model)
    same = chose_only(kept, before.routings)
    assert 0 < int(same.sum()) < IMAGES
    parts = [*zip(pruned.decode(after), model.decode(before), strict=True)]
    parts += [(after.prototypes, before.prototypes)] if task == "segment" else []
    assert len(parts) == (4 if task == "segment" else 3)
    for new, old in parts:
        torch.testing.assert_close(new[same], old[same], rtol=1e-5, atol=1e-4)
        assert (new - old)[~same].abs().max() > 1e-3


def test_a_image_that_chose_a_dropped_expert_gets_the_next_best():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    rows = [0, 2, 3]  # the second best is gone
    assert choose_experts(logits[:, rows], RoutingControls(2)).gate[0].tolist() == pytest.approx(
        [*torch.tensor([4.0, 2.0]).softmax(dim=0).tolist(), 0.0]
    )


def test_with_a_threshold_more_experts_may_run_as_probabilities_grow():
    probs = torch.tensor([[0.62, 0.19, 0.19]])
    controls = RoutingControls(2, 0.2)
    assert (choose_experts(probs.log(), controls).gate > 0).tolist() == [[True, False, False]]
    # Of what is left the second has 0.19 / 0.81 = 0.235.
    assert (choose_experts(probs[:, :2].log(), controls).gate > 0).tolist() == [[True, True]]


def test_the_checkpoint_describes_what_is_left_layer_by_layer(tmp_path):
    model = small()
    first, second = model.config.mixtures
    save_model(tmp_path / "m.safetensors", drop_experts(model, {first: (0, 3), second: (1, 2, 3)}), {})
    loaded, _ = load_model(tmp_path / "m.safetensors")
    mixtures = loaded.config.mixtures
    assert [mixtures[place].num_experts for place in (first, second)] == [2, 3]
    assert [mixtures[place].kernel_sizes for place in (first, second)] == [(3, 9), (5, 7, 9)]
    assert loaded.config.top_k == 2
    assert list(loaded.config.allowed_top_k) == [1, 2, 3]
    assert {p: len(layer.experts) for p, layer in loaded.mixture_layers().items()} == {first: 2, second: 3}
    assert [len(layer.experts) for layer in model.mixture_layers().values()] == [4, 4]  # left as it was


def test_more_experts_than_a_layer_has_are_all_of_it():
    model = small()
    first, second = model.config.mixtures
    pruned = drop_experts(model, {first: (0, 3), second: (1, 2, 3)})
    routings, _ = answers(pruned, diverse_images(4), top_k=3)
    assert [(routing.gate > 0).sum(dim=1).tolist() for routing in routings.values()] == [[2] * 4, [3] * 4]


def test_fewer_experts_than_run_are_refused():
    model = small()
    with pytest.raises(ConfigError, match="top_k=2"):
        drop_experts(model, dict.fromkeys(model.config.mixtures, (1,)))

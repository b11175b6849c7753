"""Networks with paths: the router of the thumbnail, the choice of a path, and its experts in each layer."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.training_builders import diverse_images, tiny_model
from training.config import TASKS, MixtureConfig, PathConfig, TaskName
from training.models.cost import measure_cost
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.path import PathRouter, PathScores, choose_path
from training.models.mixture.routing import RoutingControls, choose_experts
from training.models.network import Network
from training.models.variants import MixtureChoice, model_config
from training.skeleton import Skeleton
from training.tasks.choose import task_named

PATHS = 8
LOGITS = torch.tensor([[0.0, 3.0, 1.0, -1.0], [2.0, 2.0, 0.0, 0.0]])


def path_router(**settings: object) -> PathRouter:
    torch.manual_seed(0)
    return PathRouter(PathConfig(**settings)).eval()


def network_of(task: TaskName, paths: int = 3) -> Network:
    torch.manual_seed(0)
    suffix = {"detect": "", "classify": "-cls", "segment": "-seg"}.get(task, f"-{task}")
    choice = MixtureChoice(paths=paths)
    config = model_config(f"sparsight-path-n{suffix}", ("a",), (64, 64), choice, Skeleton.unnamed(2))
    return task_named(task).build(config).eval()


@pytest.mark.parametrize("image_hw", [(64, 64), (64, 96), (416, 416), (384, 640)])
@pytest.mark.parametrize("count", [2, 8])
def test_the_router_scores_each_path_for_every_size_of_image(image_hw, count):
    logits = path_router(count=count)(torch.rand(3, 3, *image_hw))
    assert logits.shape == (3, count)
    assert logits.isfinite().all()


@pytest.mark.parametrize("pool", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("image_hw", [(256, 256), (288, 416)])
def test_the_thumbnail_has_the_average_of_every_square_and_leaves_no_pixel_out(pool, image_hw):
    router, pixels = path_router(pool=pool), torch.rand(2, 3, *image_hw)
    height, width = (side // pool for side in image_hw)
    thumbnail = pixels.reshape(2, 3, height, pool, width, pool).mean(dim=(3, 5))
    assert torch.allclose(router(pixels), router.moments(router.convs(thumbnail)), atol=1e-5)
    last = pixels.clone()
    last[:, :, -1, -1] += 1e4  # the pixel that a pool with a remainder would lose
    assert not torch.allclose(router(last), router(pixels), atol=1e-3)


def test_the_path_of_an_image_does_not_depend_on_its_neighbours():
    model = tiny_model("sparsight-path-n")
    torch.manual_seed(1)
    images = diverse_images(6)
    with torch.no_grad():
        together = model(images).path
        alone = [model(images[index : index + 1]).path for index in range(6)]
    for index, one in enumerate(alone):
        assert torch.allclose(one.probs[0], together.probs[index], atol=1e-5)
        assert torch.equal(one.gate[0], together.gate[index])
    assert len(together.gate.argmax(dim=1).unique()) > 1, "images must take different paths"


def test_the_router_computes_in_float32_under_autocast():
    model = tiny_model("sparsight-path-n")
    images = diverse_images(4)
    with torch.no_grad():
        want = model(images).path
        with torch.autocast("cpu", torch.bfloat16):
            found = model(images)
    assert torch.equal(found.path.logits, want.logits)
    assert found.path.gate.dtype == torch.float32
    assert {routing.logits.dtype for routing in found.routings.values()} == {torch.float32}


def test_noise_is_added_in_training_alone():
    router, pixels = path_router(noise=1.0), torch.rand(4, 3, 64, 64)
    assert torch.equal(router(pixels), router(pixels))
    router.convs.eval()  # the same statistics
    router.training = True
    assert not torch.allclose(router(pixels), router(pixels), atol=1e-2)


def test_in_evaluation_an_image_has_one_path_with_all_its_weight():
    found = choose_path(LOGITS)
    assert found.gate.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]], "in a tie, the first"
    assert torch.equal(found.probs, LOGITS.softmax(dim=-1))
    model = tiny_model("sparsight-path-n")
    with torch.no_grad():
        path = model(diverse_images(6), RoutingControls(2, softness=1.0)).path
    assert set(path.gate.unique().tolist()) == {0.0, 1.0}, "softness is for training"


@pytest.mark.parametrize("softness", [0.0, 0.25, 1.0])
def test_softness_leads_from_the_best_path_to_the_probabilities(softness):
    probs, best = LOGITS.softmax(dim=-1), choose_path(LOGITS).gate
    found = choose_path(LOGITS, softness)
    assert torch.allclose(found.gate, softness * probs + (1 - softness) * best)
    assert torch.equal(found.probs, probs)


def test_the_hard_choice_has_the_gradient_of_the_probabilities():
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    gradients = []
    for gate in (lambda logits: choose_path(logits, 0.0).gate, lambda logits: logits.softmax(dim=-1)):
        logits = LOGITS.clone().requires_grad_()
        (gate(logits) @ weights).sum().backward()
        gradients.append(logits.grad)
    assert torch.allclose(*gradients)
    assert gradients[0].abs().min() > 1e-3


@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
def test_router_and_scores_of_every_layer_learn_from_the_answer_alone(softness):
    model = tiny_model("sparsight-path-n").train()
    torch.manual_seed(4)
    found = model(diverse_images(8), RoutingControls(2, softness=softness))
    (found.class_logits.sigmoid().sum() + found.box_logits.softmax(-1)[..., 0].sum()).backward()
    for name, parameter in model.path_router.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    taken = found.path.gate.detach().amax(dim=0) > 0
    for name, layer in model.mixture_layers().items():
        learned = layer.router.score.weight.grad.abs().amax(dim=0) > 0  # (P,)
        assert torch.equal(learned, taken), name
    assert not taken.all() or softness > 0, "a hard path that no image takes learns nothing"


def test_a_path_is_a_row_of_scores_and_all_its_images_have_the_same_gates():
    torch.manual_seed(0)
    layer = MixtureLayer(8, MixtureConfig(kernel_sizes=(3,) * 4, expert="simple"), paths=PathConfig()).eval()
    assert isinstance(layer.router, PathScores)
    x, path = torch.randn(3, 8, 4, 4), torch.tensor([5, 0, 5])
    controls = RoutingControls(2, path=functional.one_hot(path, PATHS).float())
    _, routing = layer(x, controls)
    want = choose_experts(layer.router.score.weight[:, path].T, RoutingControls(2))
    assert torch.equal(routing.logits, want.logits)
    assert torch.equal(routing.gate, want.gate)
    assert torch.equal(routing.gate[0], routing.gate[2])
    assert not torch.equal(routing.gate[0], routing.gate[1])


@pytest.mark.parametrize("task", TASKS)
def test_networks_of_every_task_have_a_path_and_run_one_that_is_given(task):
    model = network_of(task)
    images = diverse_images(2)
    controls = RoutingControls(1)
    with torch.no_grad():
        free = model(images, controls)
        forced = model(images, controls._replace(path=free.path.gate))
        other = model(images, controls._replace(path=free.path.gate.roll(1, dims=1)))
    assert free.path.gate.shape == free.path.probs.shape == (2, 3)
    assert forced.path is None, "its router did not run"
    assert torch.equal(forced.class_logits, free.class_logits)
    table = model.path_table(controls)
    assert list(table) == list(model.mixture_layers()) == list(free.routings)
    for layer, routing in free.routings.items():
        taken = free.path.gate.argmax(dim=1)
        assert torch.equal(routing.gate, table[layer].gate[taken])
        assert torch.equal(other.routings[layer].gate, table[layer].gate[(taken + 1) % 3])


def test_each_image_has_its_own_top_k_on_its_path():
    model = tiny_model("sparsight-path-n")
    torch.manual_seed(1)
    images, top_k = diverse_images(3), torch.tensor([[0], [1], [4]])
    with torch.no_grad():
        found = model(images, RoutingControls(top_k))
    for routing in found.routings.values():
        assert (routing.gate > 0).sum(dim=1).tolist() == [0, 1, 4]
    assert found.path.gate.sum(dim=1).tolist() == [1, 1, 1], "a path is chosen at every top_k"


def test_a_network_without_paths_has_none():
    model = tiny_model("sparsight-n")
    with torch.no_grad():
        assert model(diverse_images(1)).path is None
    assert model.path_router is None


@pytest.mark.parametrize("size", ["n", "s"])
def test_the_path_router_costs_next_to_nothing(size):
    own = model_config(f"sparsight-path-{size}", ("a",), (416, 416))
    with torch.device("meta"):
        costs = [measure_cost(task_named("detect").build(each)) for each in (replace(own, paths=None), own)]
    assert abs(costs[1].fixed - costs[0].fixed) < 0.005 * costs[1].at_top_k(1)
    assert costs[1].experts == costs[0].experts

"""The teacher of a step is the network in evaluation mode, with all experts; asking it changes nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training_builders import diverse_images
from training.config import RouterConfig
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config
from training.trainer.step import freeze_statistics
from training.trainer.teacher import batch_statistics, evaluating, running_statistics, teacher_answer


@pytest.fixture(scope="module", params=["sparsight-n", "sparsight-path-n"])
def model(request):
    config = model_config(request.param, ("a", "b"), (64, 64))
    if config.paths is None:
        noisy = RouterConfig(kind="moments", noise=1.0)
        mixtures = {place: replace(each, router=noisy) for place, each in config.mixtures.items()}
        config = replace(config, mixtures=mixtures)
    else:
        config = replace(config, paths=replace(config.paths, noise=1.0))
    torch.manual_seed(0)
    model = Detector(config).train()
    with torch.no_grad():
        for _ in range(20):  # so that running statistics are not the initial ones
            model(diverse_images(4))
    return model


def path_of(model, images):
    if model.config.paths is None:
        return None
    with torch.no_grad():
        return model.train()(images, model.default_controls()._replace(softness=0.3)).path.gate


def outputs(predictions):
    return predictions.box_logits, predictions.class_logits


def test_it_is_the_evaluated_network_with_all_experts(model):
    images = diverse_images(2)
    path = path_of(model, images)
    found = teacher_answer(model.train(), images, path, None)
    with torch.no_grad():
        want = model.eval()(images, RoutingControls(4, path=path))
    assert all(torch.equal(a, b) for a, b in zip(outputs(found), outputs(want), strict=True))
    assert all((routing.gate > 0).all() for routing in found.routings.values())
    assert found.path is None, "a given path is taken, and no other is chosen"
    assert not any(each.requires_grad for each in outputs(found))


def test_asking_changes_neither_weights_nor_statistics_nor_modes_nor_random_numbers(model):
    images = diverse_images(2)
    path = path_of(model, images)
    freeze_statistics(model.train())
    next(iter(model.mixture_layers().values())).eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = torch.random.get_rng_state()
    teacher_answer(model, images, path, None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert any(name.endswith("num_batches_tracked") for name in state)


def test_an_image_s_answer_does_not_depend_on_its_neighbours(model):
    images = diverse_images(3)
    path = path_of(model, images)
    together = outputs(teacher_answer(model, images, path, None))
    alone = outputs(teacher_answer(model, images[1:2], None if path is None else path[1:2], None))
    for one, all_three in zip(alone, together, strict=True):
        assert (one[0] - all_three[1]).abs().max() < 1e-4


@pytest.mark.parametrize("model", ["sparsight-path-n"], indirect=True)
def test_another_path_gives_another_answer(model):
    first, second = (
        teacher_answer(model, diverse_images(1), torch.eye(8)[index : index + 1], None) for index in (0, 1)
    )
    assert not torch.equal(first.class_logits, second.class_logits)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_it_computes_in_the_student_s_precision(model, dtype):
    images = diverse_images(1)
    answer = teacher_answer(model, images, path_of(model, images), dtype)
    assert answer.class_logits.dtype == (dtype or torch.float32)


def test_modes_come_back_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2).eval()).train()
    model[1].eval()
    modes = []

    def fail():
        with evaluating(model):
            modes.extend(module.training for module in model.modules())
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert modes == [False] * 3
    assert [module.training for module in model.modules()] == [True, True, False]


def test_statistics_of_a_batch_are_found_from_running_ones():
    norms = nn.Sequential(nn.BatchNorm1d(2, momentum=0.03), nn.BatchNorm1d(2, momentum=0.03)).train()
    norms[1].eval()
    norms[1].running_mean.fill_(5)
    before = running_statistics(norms)
    batch = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    norms(batch)
    (mean, variance), frozen = batch_statistics(norms, before)
    assert mean.tolist() == pytest.approx([2, 20], rel=1e-4)
    assert variance.tolist() == pytest.approx([2, 200], rel=1e-4)
    assert [each.tolist() for each in frozen] == [[5, 5], [1, 1]]


@pytest.mark.parametrize("variant", ["sparsight-n", "sparsight-path-n"])
def test_with_the_batch_s_statistics_it_answers_as_the_student_with_all_experts(variant):
    torch.manual_seed(0)
    model = Detector(model_config(variant, ("a", "b"), (64, 64))).train()
    images = diverse_images(32)
    path = None if model.config.paths is None else torch.eye(8).repeat(4, 1)
    before = running_statistics(model)
    with torch.no_grad():
        want = outputs(model(images, RoutingControls(4, path=path)))
    after = running_statistics(model)
    found = outputs(teacher_answer(model, images, path, None, batch_statistics(model, before)))
    unlike = outputs(teacher_answer(model, images, path, None))
    for one, other, far in zip(want, found, unlike, strict=True):
        # Running variances are unbiased: by a factor of 128 / 127 where the batch has 128 cells.
        assert (one - other).norm() < 0.1 * (one - far).norm()
    for (mean, variance), kept in zip(after, running_statistics(model), strict=True):
        assert torch.equal(mean, kept[0])
        assert torch.equal(variance, kept[1])

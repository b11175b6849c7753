"""Classifiers: the backbone of each family under one head."""

from dataclasses import replace

import pytest
import torch

from tests.training_builders import diverse_images
from training.config import MixtureConfig, ModelConfig
from training.errors import ConfigError
from training.models.classifier import Classifier
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.models.variants import MixtureChoice, model_config

NANO = ("yolov12-n-cls", "esmoe-n-cls", "sparsight-n-cls")
WITH_MIXTURES = NANO[1:]
NAMES = ("disc", "ring", "fish")


def classifier(variant, input_hw=(64, 64)):
    torch.manual_seed(0)
    model = Classifier(model_config(variant, NAMES, input_hw))
    return model.eval()


def settled(variant):
    """One whose batch norms know some noise, so that maps and routes differ between images."""
    model = classifier(variant).train()
    with torch.no_grad():
        for _ in range(60):
            model(diverse_images(8))
        for layer in model.mixture_layers().values():
            layer.router.score.weight.mul_(200)
    return model.eval()


@pytest.mark.parametrize("variant", NANO)
def test_the_backbone_is_the_detector_s_and_the_head_is_counted_by_hand(variant):
    with torch.device("meta"):
        model = Classifier(model_config(variant, NAMES, (64, 64)))
        detector = Detector(model_config(variant.removesuffix("-cls"), NAMES, (64, 64)))
    assert count_parameters(model.backbone) == count_parameters(detector.backbone)
    by_hand = 256 * 1280 + 2 * 1280 + 1280 * 3 + 3  # convolution, batch norm, linear
    assert count_parameters(model) == count_parameters(model.backbone) + by_hand


def test_three_experts_and_the_classes_of_imagenet_make_the_published_3_38_million():
    names = tuple(f"class {index}" for index in range(1000))
    with torch.device("meta"):
        config = model_config("esmoe-n-cls", names, (224, 224), MixtureChoice(num_experts=3, top_k=3))
        assert count_parameters(Classifier(config)) == pytest.approx(3.38e6, rel=0.01)


@pytest.mark.parametrize(
    ("variant", "layers"),
    [
        ("yolov12-n-cls", []),
        ("esmoe-n-cls", ["backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5"]),
        ("sparsight-n-cls", ["backbone.p4", "backbone.p5"]),
    ],
)
def test_mixtures_stand_in_the_backbone_alone(variant, layers):
    model = classifier(variant)
    assert list(model.mixture_layers()) == layers
    found = model(diverse_images(2))
    assert list(found.routings) == layers
    assert found.class_logits.shape == (2, 3)


def test_most_of_what_sparsight_computes_is_routed_here_too():
    with torch.device("meta"):
        cost = measure_cost(Classifier(model_config("sparsight-n-cls", NAMES, (224, 224))))
    assert 1 - cost.fixed / cost.dense >= 0.6
    assert list(cost.experts) == ["backbone.p4", "backbone.p5"]


@pytest.mark.parametrize("variant", NANO)
def test_probabilities_of_an_image_sum_to_one(variant):
    model = classifier(variant)
    with torch.no_grad():
        probabilities = model.probabilities(model(diverse_images(3)))
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("variant", WITH_MIXTURES)
def test_dense_and_grouped_dispatch_are_equal_and_a_batch_changes_nothing(variant):
    model = settled(variant)
    torch.manual_seed(1)
    images, sets = diverse_images(6), set()
    for top_k in (model.config.allowed_top_k[0], 1, 2, 4):
        with torch.no_grad():
            dense, grouped = (model(images, RoutingControls(top_k), how) for how in ("dense", "grouped"))
            alone = model(images[2:3], RoutingControls(top_k), "grouped")
        assert (dense.class_logits - grouped.class_logits).abs().max() < 1e-4
        assert (alone.class_logits[0] - grouped.class_logits[2]).abs().max() < 1e-4
        sets |= {tuple(row) for routing in dense.routings.values() for row in (routing.gate > 0).tolist()}
    assert len(sets) > 3, "images must route differently for this to prove anything"


@pytest.mark.parametrize("variant", WITH_MIXTURES)
def test_every_parameter_learns(variant):
    model = settled(variant).train()
    found = model(diverse_images(8), RoutingControls(4))
    found.class_logits[:, 0].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if ".router." in name or ".experts." in name:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("placement", ["neck", "both"])
def test_a_classifier_has_no_neck_to_put_mixtures_in(placement):
    with pytest.raises(ConfigError, match="esmoe-n-cls has no neck: its mixtures can only be in the"):
        model_config("esmoe-n-cls", NAMES, (64, 64), MixtureChoice(placement=placement))


def test_a_configuration_with_a_mixture_where_a_classifier_has_nothing_is_refused():
    config = ModelConfig(class_names=NAMES, task="classify", mixtures={"backbone.p4": MixtureConfig()})
    with pytest.raises(ConfigError, match=r"mixture place 'neck\.p3' is none of backbone\.p2"):
        replace(config, mixtures={"neck.p3": MixtureConfig()})


@pytest.mark.parametrize("input_hw", [(64, 96), (224, 224)])
def test_the_canvas_may_have_any_size_that_strides_divide(input_hw):
    model = classifier("sparsight-n-cls", input_hw)
    images = torch.zeros(1, *input_hw, 3, dtype=torch.uint8)
    assert model(images).class_logits.isfinite().all()

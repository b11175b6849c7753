"""Which experts stay, according to the choices of the images."""

from dataclasses import replace

import pytest

from training.errors import ConfigError
from training.evaluate.expert_use import LayerUse
from training.lab.prune.select import Rule, pruned_top_k, select_experts
from training.models.variants import model_config

CLASSES = ("disc", "ring")


def use(share, weight=None, layer="backbone.p4"):
    return LayerUse(layer, 0.5, tuple(share), tuple(weight or share), 2, 0.5, 1.0)


def kept(share, weight=None, top_k=1, **rule):
    return select_experts([use(share, weight)], Rule(**rule), top_k)["backbone.p4"]


@pytest.mark.parametrize(
    ("rule", "top_k", "expected"),
    [
        pytest.param({"keep": 1}, 1, (2,), id="the most used one"),
        pytest.param({"keep": 3}, 1, (0, 2, 3), id="in the order that they had"),
        pytest.param({"keep": 4}, 2, (0, 1, 2, 3), id="all of them"),
        pytest.param({"keep": 9}, 2, (0, 1, 2, 3), id="more than there are"),
        pytest.param({"min_share": 0.25}, 2, (0, 2, 3), id="a share that is reached stays"),
        pytest.param({"min_share": 0.26}, 2, (0, 2), id="a share that is missed goes"),
        pytest.param({"min_share": 0.0}, 2, (0, 1, 2, 3), id="no use is needed"),
        pytest.param({"min_share": 1.0}, 2, (0, 2), id="none is always chosen: those that have to run stay"),
        pytest.param({"min_share": 1.0}, 1, (2,), id="likewise for one"),
    ],
)
def test_the_rule_decides(rule, top_k, expected):
    assert kept((0.75, 0.125, 0.875, 0.25), top_k=top_k, **rule) == expected


def test_of_equal_shares_the_heavier_expert_stays_and_of_equal_weights_the_first():
    assert kept((1, 1, 1, 1), (0.1, 0.4, 0.2, 0.3), keep=2) == (1, 3)
    assert kept((0.5, 0.5, 0.5, 0.5), (0.25,) * 4, keep=2) == (0, 1)


def test_layers_may_end_with_different_numbers():
    uses = [use((0.9, 0.1, 0.0), layer="a"), use((0.5, 0.5, 0.5, 0.5), layer="b")]
    assert select_experts(uses, Rule(min_share=0.2), 1) == {"a": (0,), "b": (0, 1, 2, 3)}
    assert select_experts(uses, Rule(keep=3), 1) == {"a": (0, 1, 2), "b": (0, 1, 2)}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param({}, "either --keep", id="no rule"),
        pytest.param({"keep": 2, "min_share": 0.1}, "either --keep", id="two rules"),
        pytest.param({"keep": 0}, "at least 1", id="none stays"),
        pytest.param({"min_share": -0.1}, "0 to 1", id="less than no share"),
        pytest.param({"min_share": 1.1}, "0 to 1", id="more than every image"),
        pytest.param({"min_share": float("nan")}, "0 to 1", id="not a number"),
    ],
)
def test_a_rule_is_checked_when_it_is_made(rule, message):
    with pytest.raises(ConfigError, match=message):
        Rule(**rule)


def esmoe(**mixture):
    config = model_config("esmoe-n", CLASSES, (64, 64))
    return replace(config, mixtures={p: replace(m, **mixture) for p, m in config.mixtures.items()})


@pytest.mark.parametrize(
    ("config", "keep", "top_k", "message"),
    [
        pytest.param(model_config("yolov12-n", CLASSES, (64, 64)), 2, None, "is dense", id="no mixture"),
        pytest.param(esmoe(), 1, None, "keep=1: esmoe-n runs 2 .* --top-k 1", id="fewer than run"),
        pytest.param(esmoe(top_k=4), 3, None, "runs 4 .* --top-k 3", id="every expert runs"),
        pytest.param(esmoe(), 3, 5, "a layer of 4 experts", id="more than there are"),
        pytest.param(esmoe(top_k=0, shared_kernel=1), 3, None, "no expert runs", id="the shared one alone"),
        pytest.param(esmoe(), 3, 0, "no expert runs", id="none asked for"),
    ],
)
def test_what_cannot_be_pruned_is_refused(config, keep, top_k, message):
    with pytest.raises(ConfigError, match=message):
        pruned_top_k(config, Rule(keep=keep), top_k)


@pytest.mark.parametrize(("keep", "top_k", "expected"), [(2, None, 2), (1, 1, 1), (3, 3, 3)])
def test_as_many_as_run_may_be_kept(keep, top_k, expected):
    assert pruned_top_k(esmoe(), Rule(keep=keep), top_k) == expected


def test_the_smallest_layer_bounds_top_k():
    config = model_config("modular-n", CLASSES, (64, 64))  # 4, 8 and 16 experts
    assert pruned_top_k(config, Rule(keep=6), 4) == 4
    with pytest.raises(ConfigError, match="a layer of 4"):
        pruned_top_k(config, Rule(keep=6), 5)

"""Model families: their variants, and parsing of variant names."""

import pytest

from training.errors import ConfigError
from training.models.families.choose import FAMILIES, parse_variant, variants_of
from training.models.variants import model_config


def test_the_variants_of_a_task_stand_by_family_smallest_first():
    assert variants_of("detect") == (
        *("yolov12-n", "yolov12-s", "yolov12-m", "yolov12-l", "yolov12-x"),
        *("esmoe-n", "esmoe-s", "esmoe-m", "esmoe-l", "esmoe-x"),
        *("modular-n", "modular-s", "modular-m", "modular-l"),
        *("optimized-n", "ultra-n", "moehead-n", "sparsight-n", "sparsight-s"),
        *("sparsight-path-n", "sparsight-path-s"),
    )
    assert variants_of("classify") == (
        *("yolov12-n-cls", "yolov12-s-cls", "yolov12-m-cls", "yolov12-l-cls", "yolov12-x-cls"),
        *("esmoe-n-cls", "esmoe-s-cls", "esmoe-m-cls", "esmoe-l-cls", "esmoe-x-cls"),
        *("modular-n-cls", "modular-s-cls", "modular-m-cls", "modular-l-cls"),
        *("sparsight-n-cls", "sparsight-s-cls", "sparsight-path-n-cls", "sparsight-path-s-cls"),
    )


@pytest.mark.parametrize(
    ("variant", "family", "size", "task"),
    [
        ("esmoe-x", "esmoe", "x", "detect"),
        ("sparsight-s", "sparsight", "s", "detect"),
        ("sparsight-path-s", "sparsight-path", "s", "detect"),
        ("esmoe-x-cls", "esmoe", "x", "classify"),
        ("sparsight-path-n-seg", "sparsight-path", "n", "segment"),
    ],
)
def test_a_variant_s_name_says_family_size_and_task(variant, family, size, task):
    found = parse_variant(variant)
    assert (found.family.name, found.size, found.task) == (family, size, task)
    assert str(found) == variant


@pytest.mark.parametrize("name", ["modular-x", "esmoe-q", "esmoe", "-n", "", "moehead-n-cls", "esmoe-n-mask"])
def test_a_name_that_is_no_variant_is_refused(name):
    with pytest.raises(ConfigError, match=f"no variant '{name}'; there are: yolov12-n, "):
        parse_variant(name)


def test_only_images_of_our_own_families_draw_their_own_top_k():
    drawn = {}
    for family in FAMILIES:
        model = model_config(f"{family.name}-n", ("a",), (64, 64))
        drawn[family.name] = family.trained_top_ks(model)
    assert drawn.pop("sparsight") == drawn.pop("sparsight-path") == (1, 2, 2, 4)
    assert set(drawn.values()) == {()}


def test_only_es_moe_s_paper_lets_the_rate_fall_by_a_cosine_without_dfl():
    found = {family.name: family for family in FAMILIES}
    assert [name for name, family in found.items() if family.paper_schedule == "cosine"] == ["esmoe"]
    losses = {name: (family.paper_losses or family.losses).dfl for name, family in found.items()}
    assert losses.pop("esmoe") == 0
    assert set(losses.values()) == {1.5}

"""Recipes: what a request can change, and the losses of each family."""

from dataclasses import replace

import pytest

from training.config import LossConfig
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.models.families.choose import FAMILIES, parse_variant
from training.models.variants import DETECT_VARIANTS, MixtureChoice
from training.recipes.recipe_data import recipe_splits, starter_choice_data, starter_data
from training.recipes.recipes import ANY_TASK, RECIPES, Request, build_config

REQUEST = Request(class_names=("a",), train_data=ScenesConfig())
ROUTING_TERMS = (
    *("balance", "load", "z", "diversity", "information", "coverage"),
    *("path_information", "path_coverage", "path_load"),
)


def routing_weights(family):
    loss = parse_variant(f"{family}-n").family.losses
    return {name: getattr(loss, name) for name in ROUTING_TERMS if getattr(loss, name)}


@pytest.mark.parametrize(
    ("family", "weights"),
    [
        # YOLO-Master v0.1 states 0.01 and 0.001, inside a sum that it multiplies by 0.15.
        pytest.param("modular", {"load": 0.0015, "z": 0.00015}, id="modular"),
        pytest.param("ultra", {"load": 0.0015, "z": 0.00015}, id="ultra"),
        pytest.param("optimized", {"load": 0.0015}, id="optimized"),
        pytest.param("moehead", {"diversity": 0.01}, id="moehead"),
        pytest.param("esmoe", {"balance": 1.5}, id="esmoe"),
        pytest.param("sparsight", {"information": 0.5, "coverage": 0.1}, id="sparsight"),
        pytest.param(
            "sparsight-path",
            {
                "information": 0.5,
                "coverage": 0.1,
                "path_information": 0.5,
                "path_coverage": 0.1,
                "path_load": 0.3,
            },
            id="sparsight-path",
        ),
    ],
)
def test_a_family_gets_the_losses_of_its_source_for_its_routers(family, weights):
    assert routing_weights(family) == pytest.approx(weights)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_the_same_losses_for_boxes_and_classes(family):
    assert replace(family.losses, **dict.fromkeys(ROUTING_TERMS, 0.0)) == replace(LossConfig(), balance=0.0)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_takes_what_is_asked_of_the_model(recipe):
    choice = MixtureChoice(placement="neck", num_experts=3, top_k=1)
    config = build_config(
        recipe, replace(REQUEST, variant="esmoe-n", mixture=choice, overrides={"model.input_hw": (64, 96)})
    )
    assert list(config.model.mixtures) == ["neck.p3", "neck.p4", "neck.p5"]
    assert {mixture.num_experts for mixture in config.model.mixtures.values()} == {3}
    assert (config.model.top_k, config.model.input_hw) == (1, (64, 96))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("variant", ["modular-n", "moehead-n", "yolov12-n"])
def test_every_recipe_takes_the_losses_of_the_family(recipe, variant):
    assert (
        build_config(recipe, replace(REQUEST, variant=variant)).loss == parse_variant(variant).family.losses
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_epochs_and_batch_are_the_request_s_if_it_says_so(recipe):
    usual = build_config(recipe, REQUEST)
    asked = build_config(recipe, replace(REQUEST, overrides={"epochs": 3, "batch_size": 5}))
    assert (asked.epochs, asked.batch_size) == (3, 5)
    assert replace(asked, epochs=usual.epochs, batch_size=usual.batch_size) == usual


# As they stand in the table, for n/s/m/l/x.
TABLE_7 = {
    "scale": "0.5/0.9/0.9/0.9/0.9",
    "mosaic": "1.0/1.0/1.0/1.0/1.0",
    "mixup": "0.0/0.05/0.15/0.15/0.2",
    "copy_paste": "0.1/0.15/0.4/0.5/0.6",
    "close_mosaic_epochs": "10/10/10/10/10",
}


@pytest.mark.parametrize("name", TABLE_7)
@pytest.mark.parametrize("family", ["yolov12", "esmoe"])
def test_the_paper_s_augmentation_is_that_of_its_table_for_every_size(family, name):
    configs = [build_config("paper", replace(REQUEST, variant=f"{family}-{size}")) for size in "nsmlx"]
    assert [getattr(config.augment, name) for config in configs] == [
        float(value) for value in TABLE_7[name].split("/")
    ]


@pytest.mark.parametrize("variant", DETECT_VARIANTS)
def test_every_detector_has_the_paper_s_recipe(variant):
    config = build_config("paper", replace(REQUEST, variant=variant))
    assert (config.epochs, config.optimizer.name, config.optimizer.momentum) == (600, "sgd", 0.937)
    assert (config.optimizer.lr, config.optimizer.final_lr, config.optimizer.weight_decay) == (
        0.01,
        1e-4,
        5e-4,
    )
    assert (config.loss.box, config.loss.classes) == (7.5, 0.5)


def test_yolo_master_falls_as_a_cosine_without_dfl_and_yolov12_does_neither():
    master, yolov12 = (
        build_config("paper", replace(REQUEST, variant=f"{name}-n")) for name in ("esmoe", "yolov12")
    )
    assert (master.optimizer.schedule, master.loss.dfl, master.loss.balance) == ("cosine", 0.0, 1.5)
    assert (yolov12.optimizer.schedule, yolov12.loss.dfl) == ("linear", 1.5)


@pytest.mark.parametrize("recipe", ["quick", "small-data", "starter"])
def test_other_recipes_neither_mix_nor_paste_unless_asked(recipe):
    augment = build_config(recipe, REQUEST).augment
    assert (augment.mixup, augment.copy_paste) == (0.0, 0.0)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_losses_and_augmentation_are_the_request_s_if_it_says_so(recipe, value):
    usual = build_config(recipe, REQUEST)
    names = ("dfl", "balance", "information", "coverage", "mosaic", "mixup", "copy_paste")
    paths = [*(f"loss.{name}" for name in names[:4]), *(f"augment.{name}" for name in names[4:])]
    asked = build_config(recipe, replace(REQUEST, overrides=dict.fromkeys(paths, value)))
    assert [getattr(asked.loss, name) for name in names[:4]] == [value] * 4
    assert [getattr(asked.augment, name) for name in names[4:]] == [value] * 3
    assert replace(asked, loss=usual.loss, augment=usual.augment) == usual


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"loss.dfl": -0.1}, "dfl=-0.1 must be at least 0"),
        ({"loss.balance": float("nan")}, "balance=nan must be at least 0"),
        ({"augment.mixup": 1.1}, "mixup=1.1 must be in 0..1"),
        ({"augment.copy_paste": -0.1}, "copy_paste=-0.1 must be in 0..1"),
        ({"optimizer.lr": 0.0}, "lr=0.0 must be positive"),
        ({"optimizer.lr": 0.001, "optimizer.final_lr": 0.002}, "final_lr=0.002 must be in 0..lr=0.001"),
        ({"learning_rate": 1.0}, "a training configuration has no learning_rate"),
        ({"optimizer.rate": 1.0}, "a training configuration has no optimizer.rate"),
        ({"optimiser.lr": 1.0}, "a training configuration has no optimiser.lr"),
        ({"epochs.most": 1}, "a training configuration has no epochs.most"),
    ],
)
def test_an_override_that_cannot_work_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_config("quick", replace(REQUEST, overrides=overrides))


def test_a_learning_rate_takes_along_what_it_falls_to():
    usual = build_config("small-data", REQUEST).optimizer
    assert (usual.lr, usual.final_lr) == (1.4e-3, 1.4e-5)
    asked = build_config("small-data", replace(REQUEST, overrides={"optimizer.lr": 1e-6})).optimizer
    assert (asked.lr, asked.final_lr) == (1e-6, pytest.approx(1e-8))
    both = {"optimizer.lr": 1e-2, "optimizer.final_lr": 1e-3}
    asked = build_config("small-data", replace(REQUEST, overrides=both)).optimizer
    assert (asked.lr, asked.final_lr) == (1e-2, 1e-3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_turns_images_upside_down_unless_asked(recipe):
    assert build_config(recipe, REQUEST).augment.flip_vertical == 0
    asked = build_config(recipe, replace(REQUEST, overrides={"augment.flip_vertical": 0.5}))
    assert asked.augment.flip_vertical == 0.5


def test_where_no_variant_is_named_it_is_ours():
    assert build_config("quick", REQUEST).model.variant == "sparsight-n"


@pytest.mark.parametrize("path", ["loss.balance", "loss.information", "loss.coverage", "top_ks"])
def test_without_experts_there_is_nothing_to_choose_of_them(path):
    name = path.removeprefix("loss.")
    overrides = {path: () if name == "top_ks" else 0.0}
    with pytest.raises(ConfigError, match=f"yolov12-n has no experts: leave {name} to its recipe"):
        build_config("quick", replace(REQUEST, variant="yolov12-n", overrides=overrides))


def test_a_choice_of_top_k_in_training_is_the_request_s_and_refused_if_the_model_cannot():
    request = replace(REQUEST, variant="sparsight-n")
    for top_ks in ((), (0, 4)):
        config = build_config("quick", replace(request, overrides={"top_ks": top_ks}))
        assert config.top_ks == top_ks
    with pytest.raises(ConfigError, match=r"top_ks=\(5,\): sparsight-n runs with 0, 1, 2, 3, 4 experts"):
        build_config("quick", replace(request, overrides={"top_ks": (5,)}))


def test_an_unknown_recipe_names_those_there_are():
    there = "quick, small-data, starter, starter-choice, paper, coco"
    with pytest.raises(ConfigError, match=f"no recipe 'best'; there are: {there}"):
        build_config("best", REQUEST)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("variant", "choice", "top_ks"),
    [
        ("sparsight-n", MixtureChoice(), (1, 2, 2, 4)),
        ("sparsight-n", MixtureChoice(num_experts=3, top_k=1), (1, 1, 1, 3)),
        ("esmoe-n", MixtureChoice(), ()),
        ("yolov12-n", MixtureChoice(), ()),
    ],
)
def test_images_draw_their_top_k_where_the_family_is_to_run_with_any(recipe, variant, choice, top_ks):
    overrides = {"model.input_hw": (64, 64)}
    request = replace(REQUEST, variant=variant, mixture=choice, overrides=overrides)
    config = build_config(recipe, request)
    assert config.top_ks == top_ks


def test_settings_are_chosen_by_the_starter_s_training_on_parts_of_its_training_images(tmp_path):
    assert recipe_splits("starter", tmp_path) == starter_data(tmp_path)
    assert recipe_splits("starter-choice", tmp_path) == starter_choice_data(tmp_path)
    usual = build_config("starter", REQUEST)
    assert build_config("starter-choice", REQUEST) == usual
    assert (usual.epochs, usual.model.input_hw, usual.augment.flip_vertical) == (60, (416, 416), 0.0)


def test_the_starter_s_parts_share_no_image_and_leave_none_out(tmp_path):
    parted = (*starter_data(tmp_path), *starter_choice_data(tmp_path))
    for train, val, less, choice in zip(*(each.parts for each in parted), strict=True):
        assert (train.root, less.root) == (val.root, choice.root)
        assert not set(less.kept) & set(choice.kept)
        assert set(less.kept) | set(choice.kept) == set(train.kept)
        assert train.split != val.split or not set(train.kept) & set(val.kept)
    assert [len(train.kept) for train in parted[0].parts] == [8, 8, 4]


CLASSIFY = replace(REQUEST, variant="sparsight-n-cls")


def test_small_images_are_classified_at_224_pixels_with_smoothed_labels():
    config = build_config("small-data", CLASSIFY)
    assert (config.model.task, config.model.input_hw, config.epochs) == ("classify", (224, 224), 60)
    assert (config.optimizer.name, config.loss.classes, config.loss.label_smoothing) == ("adamw", 1.0, 0.1)
    assert (config.loss.information, config.loss.coverage) == (0.5, 0.1), "routers are asked for the same"
    assert config.top_ks == (1, 2, 2, 4)


def test_a_quick_try_is_smaller_and_shorter():
    config = build_config("quick", CLASSIFY)
    assert (config.model.input_hw, config.epochs, config.evaluate_every_epochs) == ((128, 128), 20, 4)
    assert build_config(
        "quick", replace(CLASSIFY, overrides={"model.input_hw": (64, 64)})
    ).model.input_hw == (64, 64)


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ANY_TASK])
def test_recipes_of_papers_and_of_data_with_boxes_train_no_classifier(recipe):
    message = f"recipe {recipe} trains detectors, and sparsight-n-cls is for the task classify: take quick"
    with pytest.raises(ConfigError, match=message):
        build_config(recipe, CLASSIFY)


def test_a_recipe_that_there_is_not_is_said_so_to_a_classifier_too():
    with pytest.raises(ConfigError, match="no recipe 'long'"):
        build_config("long", CLASSIFY)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("loss.dfl", "--dfl"),
        ("augment.mosaic", "--mosaic"),
        ("augment.close_mosaic_epochs", "--close-mosaic"),
        ("augment.mixup", "--mixup"),
        ("augment.copy_paste", "--copy-paste"),
    ],
)
def test_what_means_nothing_to_a_classifier_is_refused(name, flag):
    asked = replace(CLASSIFY, overrides={name: 0.5})
    with pytest.raises(ConfigError, match=f"{flag} means nothing to sparsight-n-cls"):
        build_config("quick", asked)
    assert build_config("quick", replace(asked, variant="sparsight-n"))


def test_experts_and_balance_of_a_classifier_may_be_chosen():
    asked = replace(CLASSIFY, mixture=MixtureChoice(num_experts=3), overrides={"loss.information": 0.0})
    config = build_config("quick", asked)
    assert {mixture.num_experts for mixture in config.model.mixtures.values()} == {3}
    assert config.loss.information == 0

"""Configurations: what they refuse at their edges, and that JSON gives them back."""

import json
from dataclasses import replace

import pytest

from training.config import (
    AugmentConfig,
    LossConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    RouterConfig,
    TrainConfig,
)
from training.config_json import model_from_json, to_json, train_from_json
from training.data_config import CombinedConfig, FolderConfig, ScenesConfig, absolute
from training.errors import ConfigError
from training.models.variants import model_config

MODEL = ModelConfig(class_names=("a", "b"))
TRAIN = TrainConfig(model=MODEL, train_data=ScenesConfig())
MIXED = replace(TRAIN, model=replace(MODEL, mixtures={"neck.p3": MixtureConfig()}))


@pytest.mark.parametrize(
    ("make", "allowed", "refused", "message"),
    [
        (lambda v: MixtureConfig(top_k=v), [1, 4], [0, 5], "top_k=. is outside 1..num_experts=4"),
        (
            lambda v: MixtureConfig(num_experts=v, top_k=1, kernel_sizes=(3,) * v),
            [1, 2],
            [0],
            "num_experts=0 must be at least 1",
        ),
        (
            lambda v: MixtureConfig(kernel_sizes=v),
            [(1, 3, 5, 7)],
            [(3, 5, 7), (3, 5, 7, 9, 11)],
            "one kernel for each of 4 experts",
        ),
        (lambda v: MixtureConfig(kernel_sizes=v), [], [(3, 5, 7, 8), (3, 5, 7, -1)], "must be odd"),
        (lambda v: MixtureConfig(shared_kernel=v), [1, 3], [2], "shared_kernel=2 must be odd"),
        (lambda v: MixtureConfig(shared_kernel=1, top_k=v), [0, 4], [-1, 5], "outside 0..num_experts=4"),
        (lambda v: MixtureConfig(weight_threshold=v), [0.0, 1.0], [-0.1, 1.1], "is not a probability"),
        (lambda v: MixtureConfig(gate_epsilon=v), [0.0, 1e-6], [-1e-6], "gate_epsilon=-1e-06 is negative"),
        (lambda v: MixtureConfig(expert_ratio=v), [0.1], [0.0], "expert_ratio=0.0 must be positive"),
        (lambda v: MixtureConfig(expert=v), ["ghost"], ["spirit"], "expert 'spirit' is none of depthwise"),
        (lambda v: MixtureConfig(norm=v), ["group"], ["layer"], "norm 'layer' is none of batch, group"),
        (
            lambda v: RouterConfig(kind=v),
            ["ultra"],
            ["local"],
            "router 'local' is none of pooled, moments, spatial",
        ),
        (lambda v: RouterConfig(temperature=v), [0.1], [0.0], "temperature=0.0 must be positive"),
        (lambda v: RouterConfig(dropout=v), [0.0, 0.99], [-0.1, 1.0], "dropout=.* must be in 0..1"),
        (lambda v: RouterConfig(noise=v), [0.0], [-0.1], "noise=-0.1 is negative"),
        (lambda v: RouterConfig(pool=v), [1], [0], "pool=0 must be at least 1"),
        (lambda v: RouterConfig(init_std=v), [None, 0.01], [0.0], "init_std=0.0 must be positive"),
        (
            lambda v: replace(MODEL, mixtures={v: MixtureConfig()}),
            ["backbone.p2", "neck.p3"],
            ["backbone.p6", "neck.p2", "p4"],
            "mixture place .* is none of backbone.p2",
        ),
        (
            lambda v: replace(MODEL, mixtures=dict.fromkeys(v, MixtureConfig(activate=False))),
            [("head.p3", "head.p4", "head.p5"), ()],
            [("head.p3",), ("head.p4", "head.p5")],
            "a mixture head needs all of",
        ),
        (
            lambda v: replace(MODEL, mixtures=dict.fromkeys(("head.p3", "head.p4", "head.p5"), v)),
            [MixtureConfig(activate=False)],
            [MixtureConfig(), MixtureConfig(activate=False, shared_kernel=1)],
            "head.p3: experts of a head answer alone",
        ),
        (
            lambda v: replace(
                MODEL, mixtures={"neck.p3": MixtureConfig(), "neck.p4": MixtureConfig(top_k=v)}
            ),
            [2],
            [1],
            "mixtures disagree on top_k: .1, 2.",
        ),
        (
            lambda v: replace(MODEL, plain_stages=(v,)),
            ["backbone.p4", "neck.p3"],
            ["backbone.p3", "p4"],
            "is none of backbone.p4",
        ),
        (lambda v: ModelConfig(class_names=v), [("a",)], [()], "at least one class"),
        (lambda v: ModelConfig(class_names=v), [("a", "b")], [("a", "b", "a")], "class_names repeat"),
        (
            lambda v: replace(MODEL, input_hw=v),
            [(64, 64), (384, 512), (64, 4096)],
            [(32, 64), (64, 32), (65, 64), (64, 80), (0, 64)],
            "multiples of 32, at least 64",
        ),
        (lambda v: ScenesConfig(images=v), [1], [0], "images=0 must be at least 1"),
        (lambda v: AugmentConfig(mosaic=v), [0.0, 1.0], [-0.01, 1.01], "is not a probability"),
        (lambda v: AugmentConfig(mixup=v), [0.0, 1.0], [-0.01, 1.01], "mixup=.* is not a probability"),
        (lambda v: AugmentConfig(copy_paste=v), [0.0, 1.0], [-0.01, 1.01], "copy_paste=.* is not a prob"),
        (lambda v: AugmentConfig(flip_horizontal=v), [0.0, 1.0], [-0.01, 1.01], "is not a probability"),
        (lambda v: AugmentConfig(flip_vertical=v), [0.0, 1.0], [-0.01, 1.01], "is not a probability"),
        (lambda v: AugmentConfig(scale=v), [0.0, 0.99], [-0.01, 1.0], "scale=.* must be in 0..1"),
        (lambda v: LossConfig(box=v), [0.0], [-0.1], "loss weight box=-0.1 is negative"),
        (lambda v: LossConfig(classes=v), [0.0], [-0.1], "loss weight classes=-0.1 is negative"),
        (lambda v: LossConfig(dfl=v), [0.0], [-0.1], "loss weight dfl=-0.1 is negative"),
        (lambda v: LossConfig(information=v), [0.0], [-0.1], "loss weight information=-0.1 is negative"),
        (lambda v: LossConfig(coverage=v), [0.0], [-0.1], "loss weight coverage=-0.1 is negative"),
        (lambda v: FolderConfig(root="a", folds=v), [1], [0], "folds=0 must be at least 1"),
        (lambda v: replace(MIXED, top_ks=v), [(), (1, 4)], [(0,), (1, 5)], "top_ks=.* runs with 1, 2, 3, 4"),
        (lambda v: LossConfig(balance=v), [0.0], [-0.1], "loss weight balance=-0.1 is negative"),
        (lambda v: LossConfig(load=v), [0.0], [-0.1], "loss weight load=-0.1 is negative"),
        (lambda v: LossConfig(z=v), [0.0], [-0.1], "loss weight z=-0.1 is negative"),
        (lambda v: LossConfig(diversity=v), [0.0], [-0.1], "loss weight diversity=-0.1 is negative"),
        (lambda v: OptimizerConfig(lr=v), [1e-4], [0.0, -1.0], "lr=.* must be positive"),
        (lambda v: OptimizerConfig(lr=0.1, final_lr=v), [1e-9, 0.1], [0.0, 0.11], "must be in 0..lr=0.1"),
        (lambda v: OptimizerConfig(ema_decay=v), [0.0, 0.9999], [-0.1, 1.0], "ema_decay=.* must be in 0..1"),
        (lambda v: replace(TRAIN, epochs=v), [1], [0], "epochs=0 must be at least 1"),
        (lambda v: replace(TRAIN, batch_size=v), [1], [0], "batch_size=0 must be at least 1"),
        (
            lambda v: replace(
                TRAIN,
                batch_size=v,
                model=replace(
                    MODEL, mixtures={"neck.p5": MixtureConfig(router=RouterConfig(kind="spatial"))}
                ),
            ),
            [2],
            [1],
            "has batch norm in its routers: they need two images",
        ),
        (
            lambda v: replace(
                TRAIN,
                model=replace(MODEL, mixtures={"neck.p5": MixtureConfig(top_k=v, shared_kernel=1)}),
            ),
            [1],
            [0],
            "top_k=0 would train no expert",
        ),
        (
            lambda v: replace(
                TRAIN,
                batch_size=4,
                accumulate=v,
                model=replace(MODEL, mixtures={"neck.p5": MixtureConfig()}),
                loss=LossConfig(information=0.5),
            ),
            [2],
            [4],
            "the loss information compares the images of a part, and accumulate=4 leaves one of batch_size=4",
        ),
        (lambda v: replace(TRAIN, seed=v), [0, 2**32 - 1], [-1, 2**32], "seed=.* must be in 0..4294967295"),
        (lambda v: replace(TRAIN, loader_workers=v), [0], [-1], "loader_workers=-1 is negative"),
    ],
)
def test_the_last_value_that_works_is_taken_and_the_next_refused(make, allowed, refused, message):
    for value in allowed:
        make(value)
    for value in refused:
        with pytest.raises(ConfigError, match=message):
            make(value)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(MODEL, id="no mixture"),
        pytest.param(
            replace(MODEL, input_hw=(384, 512), mixtures={"backbone.p4": MixtureConfig()}), id="mixture"
        ),
        pytest.param(
            replace(
                MODEL,
                mixtures={
                    "backbone.p3": MixtureConfig(num_experts=2, top_k=1, kernel_sizes=(3, 7)),
                    "neck.p5": MixtureConfig(
                        top_k=1, shared_kernel=3, router=RouterConfig(kind="ultra", init_std=0.01)
                    ),
                },
            ),
            id="other mixtures",
        ),
        pytest.param(
            replace(MODEL, class_names=("größe", 'a "quote"', "a, b")), id="class names of any text"
        ),
    ],
)
def test_a_model_configuration_survives_json(config):
    assert model_from_json(to_json(config)) == config


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(TRAIN, id="defaults"),
        pytest.param(replace(TRAIN, val_data=ScenesConfig(seed=1, image_hw=(64, 128))), id="scenes for both"),
        pytest.param(
            replace(
                TRAIN,
                train_data=FolderConfig(root="/data", class_names=("a", "b")),
                val_data=FolderConfig(root="/data", split="val"),
            ),
            id="folders",
        ),
        pytest.param(
            replace(
                MIXED,
                train_data=CombinedConfig(
                    parts=(
                        FolderConfig(root="/a", folds=5, kept=(1, 2)),
                        FolderConfig(root="/b", kept_classes=("b",)),
                    ),
                    shared_classes=True,
                ),
                top_ks=(1, 2, 4),
            ),
            id="folders combined, any number of experts",
        ),
        pytest.param(
            TrainConfig(
                model=replace(MODEL, mixtures={"neck.p3": MixtureConfig(train_dispatch="grouped")}),
                train_data=ScenesConfig(images=3),
                augment=AugmentConfig(mosaic=0.25, mixup=0.5, copy_paste=0.75, degrees=10.0),
                loss=LossConfig(balance=0.0, load=0.1, z=0.2, diversity=0.3, assign_top_k=13),
                optimizer=OptimizerConfig(name="adamw", schedule="cosine", lr=1 / 3, final_lr=1e-7),
                epochs=7,
                batch_size=3,
                seed=5,
                checkpoint_every_s=0.5,
                precision="f32",
            ),
            id="every part changed",
        ),
    ],
)
def test_a_training_configuration_survives_json(config):
    assert train_from_json(to_json(config)) == config


def test_a_configuration_of_before_tasks_is_a_detector_s():
    values = json.loads(to_json(MODEL))
    assert values.pop("task") == "detect"
    assert model_from_json(json.dumps(values)) == MODEL


def test_a_classifier_s_configuration_survives_json():
    config = TrainConfig(
        model=replace(model_config("esmoe-n-cls", ("a", "b"), (64, 64))),
        train_data=ScenesConfig(labels="class"),
        augment=AugmentConfig(crop_area=0.3, crop_aspect=1.2),
        loss=LossConfig(label_smoothing=0.25),
    )
    assert train_from_json(to_json(config)) == config


def test_a_task_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="task 'segment' is none of detect, classify"):
        replace(MODEL, task="segment")


def test_equal_configurations_give_the_same_line():
    assert to_json(replace(TRAIN)) == to_json(TRAIN)
    assert "\n" not in to_json(TRAIN)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"model": 3}'])
def test_what_is_not_a_configuration_is_refused(text):
    for read in (model_from_json, train_from_json):
        with pytest.raises(ConfigError):
            read(text)


@pytest.mark.parametrize(
    "part",
    [
        (),
        ("model",),
        ("train_data",),
        ("augment",),
        ("loss",),
        ("optimizer",),
        ("model", "mixtures", "neck.p3"),
        ("model", "mixtures", "neck.p3", "router"),
    ],
)
def test_an_unknown_key_is_refused_wherever_it_stands(part):
    config = replace(TRAIN, model=replace(MODEL, mixtures={"neck.p3": MixtureConfig()}))
    values = json.loads(to_json(config))
    inner = values
    for name in part:
        inner = inner[name]
    inner["colour"] = "red"
    with pytest.raises(ConfigError, match="colour"):
        train_from_json(json.dumps(values))


@pytest.mark.parametrize("name", ["model", "train_data", "val_data", "augment", "loss", "optimizer"])
def test_a_missing_part_is_refused(name):
    values = json.loads(to_json(TRAIN))
    del values[name]
    with pytest.raises(ConfigError, match=name):
        train_from_json(json.dumps(values))


def test_a_value_that_cannot_work_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match="epochs=0 must be at least 1"):
        train_from_json(to_json(TRAIN).replace('"epochs": 100', '"epochs": 0'))


def test_a_folder_is_named_so_that_it_is_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path)
    named = absolute(FolderConfig(root="cells", split="test", class_names=("a",)))
    assert named == FolderConfig(root=str(tmp_path.resolve() / "cells"), split="test", class_names=("a",))


@pytest.mark.parametrize(
    ("placement", "places"),
    [
        ("backbone", ["backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5"]),
        ("neck", ["neck.p3", "neck.p4", "neck.p5"]),
    ],
)
def test_a_model_configuration_of_version_0_1_is_still_read(placement, places):
    """It named one mixture and where it stood."""
    values = json.loads(to_json(MODEL))
    for new in ("mixtures", "deep_stages", "scaled_residual", "mlp_ratio", "plain_stages"):
        del values[new]
    mixture = {
        "num_experts": 2,
        "top_k": 1,
        "kernel_sizes": [3, 5],
        "placement": placement,
        "router_reduction": 4,
        "router_min_hidden": 16,
        "train_dispatch": "dense",
    }
    config = model_from_json(json.dumps({**values, "mixture": mixture}))
    assert list(config.mixtures) == places
    wanted = MixtureConfig(
        num_experts=2, top_k=1, kernel_sizes=(3, 5), router=RouterConfig(reduction=4, min_hidden=16)
    )
    assert set(config.mixtures.values()) == {wanted}
    assert model_from_json(json.dumps({**values, "mixture": None})).mixtures == {}


def test_a_run_from_before_mixup_and_copy_paste_goes_on_without_them():
    values = json.loads(to_json(TRAIN))
    del values["augment"]["mixup"], values["augment"]["copy_paste"]
    assert train_from_json(json.dumps(values)) == TRAIN
    assert (TRAIN.augment.mixup, TRAIN.augment.copy_paste) == (0.0, 0.0)


def test_experts_of_their_own_images_alone_do_not_share_batch_norm_between_processes():
    grouped = replace(MODEL, mixtures={"neck.p5": MixtureConfig(train_dispatch="grouped", norm="batch")})
    config = replace(TRAIN, batch_size=4, model=grouped)
    config.check_parts(1)
    with pytest.raises(ConfigError, match="use group norm or dense dispatch"):
        config.check_parts(2)
    replace(config, freeze_batch_norm=True).check_parts(2)
    norm = MixtureConfig(train_dispatch="grouped", norm="group")
    replace(config, model=replace(MODEL, mixtures={"neck.p5": norm})).check_parts(2)


def test_experts_of_a_head_have_batch_norm_whatever_their_mixture_says():
    head = model_config("moehead-n", ("a",), (64, 64))
    for dispatch, processes in (("dense", 2), ("grouped", 1)):
        mixtures = {
            place: replace(mixture, train_dispatch=dispatch, norm="group")
            for place, mixture in head.mixtures.items()
        }
        config = replace(TRAIN, batch_size=4, model=replace(head, mixtures=mixtures))
        config.check_parts(processes)
    with pytest.raises(ConfigError, match="share no batch norm between processes"):
        config.check_parts(2)

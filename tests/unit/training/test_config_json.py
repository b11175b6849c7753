"""Configurations survive JSON unchanged, and wrong keys are refused with their path."""

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
from training.data_config import CombinedConfig, FolderConfig, ScenesConfig
from training.errors import ConfigError
from training.models.variants import model_config

MODEL = ModelConfig(class_names=("a", "b"))
TRAIN = TrainConfig(model=MODEL, train_data=ScenesConfig())
MIXED = replace(TRAIN, model=replace(MODEL, mixtures={"neck.p3": MixtureConfig()}))


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


def test_equal_configurations_give_the_same_line():
    assert to_json(replace(TRAIN)) == to_json(TRAIN)
    assert "\n" not in to_json(TRAIN)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"model": 3}'])
def test_what_is_not_a_configuration_is_refused(text):
    for read in (model_from_json, train_from_json):
        with pytest.raises(ConfigError):
            read(text)


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ((), "colour"),
        (("model",), "model.colour"),
        (("train_data",), "train_data.scenes.colour"),
        (("augment",), "augment.colour"),
        (("loss",), "loss.colour"),
        (("optimizer",), "optimizer.colour"),
        (("model", "mixtures", "neck.p3"), "model.mixtures.neck.p3.colour"),
        (("model", "mixtures", "neck.p3", "router"), "model.mixtures.neck.p3.router.colour"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_wherever_it_stands(part, path):
    values = json.loads(to_json(MIXED))
    inner = values
    for name in part:
        inner = inner[name]
    inner["colour"] = "red"
    with pytest.raises(ConfigError) as refused:
        train_from_json(json.dumps(values))
    said = str(refused.value)
    assert said == f"not a training configuration of this version: {path}: Unexpected keyword argument"


@pytest.mark.parametrize(
    ("written", "other", "message"),
    [
        ('"epochs": 100', '"epochs": "100"', "epochs: Input should be a valid integer"),
        ('"epochs": 100', '"epochs": 100.0', "epochs: Input should be a valid integer"),
        ('"deterministic": false', '"deterministic": 0', "deterministic: Input should be a valid boolean"),
        ('"input_hw": [640, 640]', '"input_hw": [640]', "model.input_hw.1: Field required"),
        ('"kind": "scenes"', '"kind": "dreams"', "train_data: Input tag 'dreams'"),
        ('"kind": "pooled"', '"kind": "local"', "model.mixtures.neck.p3.router.kind: Input should be"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path(written, other, message):
    text = to_json(MIXED)
    assert text.count(written) == 1
    with pytest.raises(ConfigError) as refused:
        train_from_json(text.replace(written, other))
    assert message in str(refused.value)


def test_every_wrong_key_is_named_at_once():
    text = to_json(TRAIN).replace('"epochs"', '"epocs"').replace('"lr"', '"rate"')
    with pytest.raises(ConfigError, match=r"optimizer\.rate: .*; epocs: "):
        train_from_json(text)


def test_a_whole_number_is_taken_for_a_fraction():
    """A recipe may say 10 where 10.0 is meant, and its run is resumed all the same."""
    config = replace(TRAIN, optimizer=OptimizerConfig(clip_norm=10))
    assert '"clip_norm": 10,' in to_json(config)
    assert train_from_json(to_json(config)) == config


@pytest.mark.parametrize("name", ["model", "train_data", "val_data", "augment", "loss", "optimizer"])
def test_a_missing_part_is_refused(name):
    values = json.loads(to_json(TRAIN))
    del values[name]
    with pytest.raises(ConfigError, match=name):
        train_from_json(json.dumps(values))


@pytest.mark.parametrize("name", ["class_names", "mixtures"])
def test_a_model_without_classes_or_mixtures_was_not_written_by_us(name):
    values = json.loads(to_json(MODEL))
    del values[name]
    with pytest.raises(ConfigError, match=f"not a model configuration of this version: without {name}"):
        model_from_json(json.dumps(values))


def test_folders_of_a_combined_set_from_before_they_had_a_kind_are_still_read():
    config = replace(TRAIN, train_data=CombinedConfig(parts=(FolderConfig(root="/a"),)))
    values = json.loads(to_json(config))
    del values["train_data"]["parts"][0]["kind"]
    assert train_from_json(json.dumps(values)) == config


def test_a_value_that_cannot_work_is_refused_when_it_is_read():
    with pytest.raises(ConfigError, match="epochs=0 must be at least 1"):
        train_from_json(to_json(TRAIN).replace('"epochs": 100', '"epochs": 0'))


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


def test_a_configuration_of_before_tasks_is_a_detector_s():
    values = json.loads(to_json(MODEL))
    assert values.pop("task") == "detect"
    assert model_from_json(json.dumps(values)) == MODEL


def test_a_classifier_s_configuration_survives_json():
    config = TrainConfig(
        model=model_config("esmoe-n-cls", ("a", "b"), (64, 64)),
        train_data=ScenesConfig(labels="class"),
        augment=AugmentConfig(crop_area=0.3, crop_aspect=1.2),
        loss=LossConfig(label_smoothing=0.25),
    )
    assert train_from_json(to_json(config)) == config

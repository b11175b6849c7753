"""A run can be lengthened; other settings that differ are refused with both values and what to do."""

import json
from dataclasses import replace

import pytest

from tests.unit.training.messages import collecting
from training.config import AugmentConfig, OptimizerConfig, TrainConfig
from training.config_json import differences
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import CombinedConfig, FolderConfig, ScenesConfig
from training.errors import CheckpointError
from training.models.variants import model_config
from training.trainer.checkpoint import Best, Position, load_provenance
from training.trainer.loop import Trainer
from training.trainer.report import METRICS_FILE

SCENES = ScenesConfig(images=4, image_hw=(64, 64))
CONFIG = TrainConfig(
    model=model_config("yolov12-n", CLASS_NAMES, (64, 64)),
    train_data=SCENES,
    val_data=SCENES,
    augment=AugmentConfig(mosaic=0),
    optimizer=OptimizerConfig(lr=1e-3, final_lr=1e-4, warmup_epochs=0),
    epochs=1,
    batch_size=2,  # two steps in an epoch
    evaluate_every_epochs=1,
    loader_workers=0,
    precision="f32",
)


def continued(run_dir, config):
    """Resume a run; return its trainer and the learning rates of the new steps."""
    trainer = Trainer(config, open_dataset(SCENES), run_dir)
    trainer.resume()
    rates, take_step = [], trainer._step

    def step(*given):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return take_step(*given)

    trainer._step = step
    scores = iter([0.2, 0.1])
    trainer.run(lambda model: {"mAP50-95": next(scores)})
    return trainer, rates


@pytest.fixture
def finished(tmp_path):
    Trainer(CONFIG, open_dataset(SCENES), tmp_path).run(lambda model: {"mAP50-95": 0.3})
    return tmp_path


def test_a_finished_run_goes_on_with_the_learning_rate_of_the_new_length(finished):
    with collecting() as said:
        trainer, rates = continued(finished, replace(CONFIG, epochs=3))
    assert trainer.position == Position(3, 0, 6)
    assert rates == pytest.approx([6.4e-4, 4.6e-4, 2.8e-4, 1e-4]), "steps 3 to 6 of 6"
    assert said[0].startswith("epochs 1, now 3: from here on, the learning rate and the augmentation are")
    assert trainer.best == Best(0.3, 1, 2), "the evaluation before the lengthening is still the best"
    records = map(json.loads, (finished / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    assert [each["epoch"] for each in records if each["kind"] == "train"] == [1, 2, 3]
    assert load_provenance(finished / "model.safetensors")["epoch"] == "3"


def test_a_stopped_run_goes_on_from_the_middle_of_its_epoch(tmp_path):
    stopped = Trainer(CONFIG, open_dataset(SCENES), tmp_path)
    stopped.position = Position(0, 1, 1)
    stopped._save()
    trainer, rates = continued(tmp_path, replace(CONFIG, epochs=2))
    assert trainer.position == Position(2, 0, 4)
    assert len(rates) == 3


def test_a_run_that_was_lengthened_can_be_lengthened_again(finished):
    continued(finished, replace(CONFIG, epochs=2))
    trainer, rates = continued(finished, replace(CONFIG, epochs=3))
    assert trainer.position == Position(3, 0, 6)
    assert rates == pytest.approx([2.8e-4, 1e-4])


@pytest.mark.parametrize(
    "change",
    [{"patience": 4}, {"evaluate_every_epochs": 5}, {"loader_workers": 1}],
    ids=["patience", "evaluations", "workers"],
)
def test_settings_that_change_no_step_may_change(finished, change):
    trainer = Trainer(replace(CONFIG, **change), open_dataset(SCENES), finished)
    trainer.resume()
    assert trainer.position == Position(1, 0, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"batch_size": 4}, "batch_size 2, now 4", id="batch"),
        pytest.param({"seed": 7, "epochs": 2}, "seed 0, now 7. Give", id="longer, and another seed"),
        pytest.param(
            {"optimizer": OptimizerConfig(lr=0.01, final_lr=1e-4, warmup_epochs=0)},
            "optimizer.lr 0.001, now 0.01",
            id="a setting of a part",
        ),
        pytest.param({"val_data": None}, "val_data {", id="no validation"),
        pytest.param(
            {"model": model_config("yolov12-n", CLASS_NAMES, (64, 96))},
            "model.input_hw (64, 64), now (64, 96)",
            id="size",
        ),
    ],
)
def test_other_settings_are_named_with_both_values_and_what_to_do(finished, change, said):
    with pytest.raises(CheckpointError) as refused:
        Trainer(replace(CONFIG, **change), open_dataset(SCENES), finished).resume()
    assert f"{finished} has a run with other settings: {said}" in str(refused.value)
    advice = f"Give the old values, or start another run: --weights {finished}/model.safetensors --run"
    assert advice in str(refused.value)


def test_fewer_epochs_are_refused_with_both_numbers(finished):
    continued(finished, replace(CONFIG, epochs=2))
    with pytest.raises(CheckpointError, match="other settings: epochs 2, now 1"):
        Trainer(CONFIG, open_dataset(SCENES), finished).resume()


def test_differences_name_the_path_and_both_values():
    one, other = FolderConfig(root="/a"), FolderConfig(root="/b", kept_classes=("x",))
    pair = [vars(CombinedConfig(parts=(each, one, one))) for each in (one, other)]
    pair = [{**each, "parts": tuple(map(vars, each["parts"]))} for each in pair]
    assert differences(*pair) == {
        "parts.0.root": "parts.0.root /a, now /b",
        "parts.0.kept_classes": "parts.0.kept_classes (), now ('x',)",
    }
    names = {"names": ("a", "b", "c", "d", "e")}
    assert differences(names, {"names": ("a", "b", "c", "d", "f")}) == {"names.4": "names.4 e, now f"}
    assert differences(names, {"names": ("a", "b")}) == {"names": "names 5 values, now ('a', 'b')"}
    assert differences({"val": None}, {"val": 1}) == {"val": "val none, now 1"}
    assert differences(names, names) == {}

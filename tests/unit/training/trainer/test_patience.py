"""Patience keeps the best checkpoint, and ends a run that no longer improves."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from training.config import TrainConfig
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.errors import ConfigError, TrainingError
from training.models.variants import model_config
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE, Best, load_model
from training.trainer.loop import Trainer
from training.trainer.step import Stepper

SCENES = ScenesConfig(images=2, image_hw=(64, 64))
CONFIG = TrainConfig(
    model=replace(
        model_config("yolov12-n", CLASS_NAMES, (64, 64)), width=0.125, depth=0.25
    ),  # quick to write
    train_data=SCENES,
    val_data=SCENES,
    epochs=6,
    batch_size=2,
    evaluate_every_epochs=1,
    patience=2,
    loader_workers=0,
    precision="f32",
)
NAN = float("nan")


def trained(run_dir, scores, config=CONFIG, resume=False):
    """Outcome, best and number of evaluations of a run whose evaluations give these scores."""
    left = iter(scores)
    trainer = Trainer(config, open_dataset(SCENES), run_dir)
    if resume:
        trainer.resume()
    outcome = trainer.run(lambda model: {"mAP50-95": next(left)})
    return outcome, trainer.best, len(scores) - len(list(left))


@pytest.mark.parametrize(
    ("scores", "evaluations", "best"),
    [
        pytest.param([0.1, 0.3, 0.2, 0.1, 0.9], 4, Best(0.3, 2, 2), id="two worse ones end it"),
        pytest.param([0.1, 0.1, 0.1], 3, Best(0.1, 1, 2), id="the same is not better"),
        pytest.param([0.2, NAN, NAN, 0.9], 3, Best(0.2, 1, 2), id="nor is none"),
        pytest.param([0.1, 0.0, 0.2, 0.1, 0.3, 0.1], 6, Best(0.3, 5, 1), id="a better one starts anew"),
    ],
)
def test_a_run_ends_after_so_many_evaluations_without_a_better_one(tmp_path, scores, evaluations, best):
    outcome, found, evaluated = trained(tmp_path, scores)
    assert outcome.finished
    assert (evaluated, found) == (evaluations, best)
    assert outcome.position.epoch == evaluations
    assert outcome.best_path == tmp_path / BEST_FILE
    _, provenance = load_model(outcome.best_path)
    assert provenance == {"step": str(best.epoch), "epoch": str(best.epoch), "mAP50-95": f"{best.score:.6f}"}


def test_the_best_file_holds_the_weights_that_were_evaluated(tmp_path):
    seen = []

    def evaluate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"mAP50-95": [0.1, 0.5, 0.3][len(seen) - 1]}

    trainer = Trainer(replace(CONFIG, epochs=3), open_dataset(SCENES), tmp_path)
    trainer.run(evaluate)
    best, last = load_file(tmp_path / BEST_FILE), load_file(tmp_path / MODEL_FILE)
    assert all(torch.equal(tensor, best[name]) for name, tensor in seen[1].items())
    assert all(torch.equal(tensor, last[name]) for name, tensor in seen[2].items())
    assert any(not torch.equal(tensor, best[name]) for name, tensor in last.items())


def test_a_run_that_goes_on_goes_on_counting(tmp_path):
    with pytest.raises(StopIteration):  # its evaluation fails in the fourth epoch
        trained(tmp_path, [0.5, 0.4, 0.6])
    outcome, best, evaluated = trained(tmp_path, [0.5, 0.4], resume=True)
    assert outcome.finished
    assert (best, evaluated) == (Best(0.6, 3, 2), 2)
    outcome, _, evaluated = trained(tmp_path, [0.9], resume=True)
    assert outcome.finished
    assert (outcome.position.epoch, evaluated) == (5, 0), "it has ended"


def test_a_best_file_that_is_gone_is_written_at_the_next_evaluation(tmp_path):
    config = replace(CONFIG, epochs=2, patience=0)
    trained(tmp_path, [0.5, 0.4], config)
    (tmp_path / BEST_FILE).unlink()
    outcome, best, _ = trained(tmp_path, [], config, resume=True)
    assert (outcome.best_path, best) == (None, Best()), "no file is named that is not there"
    outcome, best, _ = trained(tmp_path, [0.1], replace(config, epochs=3), resume=True)
    assert (outcome.best_path, best) == (tmp_path / BEST_FILE, Best(0.1, 3, 0))
    assert load_model(tmp_path / BEST_FILE)[1]["mAP50-95"] == "0.100000"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error 12"),
    ],
)
def test_a_step_without_memory_says_what_to_make_smaller(tmp_path, monkeypatch, error):
    trainer = Trainer(CONFIG, open_dataset(SCENES), tmp_path)

    def take(*_):
        raise error

    monkeypatch.setattr(Stepper, "take", take)
    with pytest.raises(TrainingError, match=r"memory ran out in step 1 \(.*\); .* smaller --batch"):
        trainer.run(lambda model: {"mAP50-95": 0.0})


def test_without_patience_no_evaluation_ends_a_run(tmp_path):
    outcome, best, evaluated = trained(tmp_path, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0], replace(CONFIG, patience=0))
    assert (outcome.position.epoch, evaluated, best) == (6, 6, Best(0.5, 1, 5))


def test_patience_without_validation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="patience=2 needs validation data"):
        replace(CONFIG, val_data=None)
    with pytest.raises(ConfigError, match="patience=2 counts evaluations, but the run has none"):
        Trainer(CONFIG, open_dataset(SCENES), tmp_path).run()
    with pytest.raises(ConfigError, match="patience=-1 must be at least 0"):
        replace(CONFIG, patience=-1)


def test_a_run_logs_every_evaluation_and_why_it_ends_early(tmp_path, caplog):
    trained(tmp_path, [0.5, 0.25, 0.125])
    assert [record.getMessage() for record in caplog.records if record.name == "training.trainer.loop"] == [
        "epoch 1: mAP50-95 0.500",
        "epoch 2: mAP50-95 0.250",
        "epoch 3: mAP50-95 0.125",
        "no better mAP50-95 in 2 evaluations: epoch 1 was the best; "
        "with a larger --patience, the run continues",
    ]

"""Runs that differ only in the seed are one model, and each model has its settings."""

import shutil
from dataclasses import replace

import pytest

from tests.path_builders import path_model
from tests.training_builders import plain_model, shaped_model
from tests.unit.training.lab.pareto.small_runs import write_run
from training.config import ModelConfig
from training.errors import CheckpointError, ConfigError
from training.lab.pareto.candidates import Candidate, Setting, find_candidates, settings_of
from training.models.variants import MixtureChoice, model_config
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE


@pytest.fixture(scope="module")
def model():
    return plain_model()


def test_seeds_of_a_variant_are_one_model_in_the_order_of_the_seeds(tmp_path, model):
    runs = [write_run(tmp_path / f"small-{seed}", model, seed=seed) for seed in (2, 0, 1)]
    other = write_run(tmp_path / "other", model, batch_size=4)
    found, left_out = find_candidates([*runs, other / MODEL_FILE])
    assert [each.label for each in found] == ["small", "other"]
    assert found[0].checkpoints == tuple(tmp_path / f"small-{seed}" / MODEL_FILE for seed in (0, 1, 2))
    assert found[1].checkpoints == (other / MODEL_FILE,)
    assert left_out == ()


def test_the_last_checkpoint_of_a_run_counts_as_it_was_not_chosen_on_the_images(tmp_path, model):
    run = write_run(tmp_path / "small-0", model)
    shutil.copy(run / MODEL_FILE, run / BEST_FILE)
    assert find_candidates([run])[0][0].checkpoints == (run / MODEL_FILE,)
    assert find_candidates([run / BEST_FILE])[0][0].checkpoints == (run / BEST_FILE,), "as it is asked for"


def test_unfinished_runs_are_left_out_with_the_reason(tmp_path, model):
    done = write_run(tmp_path / "small-0", model)
    begun = write_run(tmp_path / "small-1", model, seed=1, epoch=1)
    bare = write_run(tmp_path / "small-2", model, seed=2)
    (bare / MODEL_FILE).unlink()
    found, left_out = find_candidates([done, begun, bare])
    assert found[0].checkpoints == (done / MODEL_FILE,)
    assert left_out == (
        f"{begun}: not finished, epoch 1 of 2",
        f"{bare}: not finished, and without a checkpoint",
    )
    with pytest.raises(ConfigError, match=r"no finished model to measure: .*epoch 1 of 2"):
        find_candidates([begun])


def test_what_cannot_be_told_apart_is_refused(tmp_path, model):
    one, twin = write_run(tmp_path / "a" / "small-0", model), write_run(tmp_path / "b" / "small-0", model)
    with pytest.raises(ConfigError, match="two checkpoints of small have the same seed; give each seed once"):
        find_candidates([one, twin])
    longer = write_run(tmp_path / "small-1", model, seed=1, batch_size=4)
    with pytest.raises(
        ConfigError, match="called small, but differ in more than the seed: batch_size 16, now 4"
    ):
        find_candidates([one, longer])
    for name in ("one", "two"):
        (tmp_path / name / "same").mkdir(parents=True)
        shutil.copy(one / MODEL_FILE, tmp_path / name / "same" / MODEL_FILE)
    with pytest.raises(ConfigError, match="are both called same; rename the folder of one"):
        find_candidates([tmp_path / name / "same" for name in ("one", "two")])


def test_models_for_different_tasks_and_missing_files_are_refused(tmp_path, model):
    small = write_run(tmp_path / "small", model)
    masks = write_run(tmp_path / "masks", shaped_model("segment"))
    with pytest.raises(ConfigError, match="small is for detect, and masks for segment"):
        find_candidates([small, masks])
    with pytest.raises(CheckpointError, match="gone"):
        find_candidates([tmp_path / "gone"])


def candidate(config: ModelConfig) -> Candidate:
    return Candidate("small", (), config)


def test_a_model_without_experts_has_one_setting():
    config = model_config("yolov12-n", ("disc",), (64, 64))
    assert settings_of(candidate(config), (3,), (0.5,)) == (Setting("dense", 1, 0.0),)


def test_a_mixture_has_every_number_of_experts_and_all_computed():
    config = model_config("sparsight-n", ("disc",), (64, 64))  # 4 experts and a shared one
    assert settings_of(candidate(config)) == (
        *(Setting("sparse", top_k, 0.0) for top_k in range(5)),
        Setting("dense", config.top_k, 0.0),
    )


def test_paths_that_average_their_experts_have_one_setting():
    config = model_config("sparsight-path-n", ("disc",), (64, 64), MixtureChoice(expert="dynamic"))
    assert settings_of(candidate(config)) == (Setting("sparse", 4, 0.0),)


def test_thresholds_count_from_two_experts_on():
    config = model_config("sparsight-n", ("disc",), (64, 64))
    mixtures = {place: replace(each, weight_threshold=0.1) for place, each in config.mixtures.items()}
    config = replace(config, mixtures=mixtures)
    found = settings_of(candidate(config), (1, 2), (0.3, 0.0))
    assert found == (
        Setting("sparse", 1, 0.0),
        Setting("sparse", 2, 0.0),
        Setting("sparse", 2, 0.3),
        Setting("dense", config.top_k, 0.1),
    )
    assert Setting("sparse", 2, 0.1) in settings_of(candidate(config)), "as trained"


def test_a_network_with_paths_has_the_siblings_of_its_paths_and_no_threshold():
    config = path_model().config
    assert settings_of(candidate(config), thresholds=(0.3,)) == (
        Setting("sparse", 1, 0.0),
        Setting("sparse", 2, 0.0),
        Setting("dense", 2, 0.0),
    )


def test_a_model_that_allows_none_of_the_numbers_is_refused():
    config = model_config("esmoe-n", ("disc",), (64, 64))
    with pytest.raises(ConfigError, match="small runs with 1, 2, 3, 4 experts; give one of them to --top-k"):
        settings_of(candidate(config), (0, 9))

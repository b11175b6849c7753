"""`compare-seeds` measures finished runs once, pairs them by seed, and says which variant is ahead."""

import json
import shutil
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy import stats

from tests.unit.training.command_line import failure
from tests.unit.training.data.small_data import write_image
from tests.unit.training.evaluate.objects.random_objects import random_images
from training.__main__ import main
from training.config_json import to_json
from training.lab.tables.seeds import seeds_report
from training.trainer.checkpoint import CONFIG_FILE, MODEL_FILE, load_model, save_model
from training.workflows import compare_seeds as workflow
from training.workflows.kept_measurement import Measurement, file_of, keep, read_kept
from training.workflows.run_data import config_of_run

OPTIONS = [
    "--epochs",
    "1",
    "--input",
    "64",
    "--batch",
    "2",
    "--workers",
    "0",
    "--precision",
    "f32",
    "--quiet",
]
VARIANTS = ("sparsight-n", "yolov12-n")


def copy_of(run, seed, folder, *, shift=0.0, epoch=None, **settings):
    """Copy a run under another seed; noise with the standard deviation `shift` changes its last layers."""
    folder.mkdir()
    config = replace(config_of_run(run / MODEL_FILE), seed=seed, **settings)
    (folder / CONFIG_FILE).write_text(to_json(config))
    model, provenance = load_model(run / MODEL_FILE)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(shift * torch.randn(parameter.shape, generator=generator))
    save_model(folder / MODEL_FILE, model, {**provenance, "epoch": epoch or provenance["epoch"]})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folder of two variants, trained for one epoch each, and of noisy copies for seeds 0 to 2."""
    root = tmp_path_factory.mktemp("seeds")
    for split, images in (("train", 2), ("val", 4)):
        for index in range(images):
            write_image(root / "data" / "images" / split / f"{index}.png")
            label = root / "data" / "labels" / split / f"{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            side = 0.95 - 0.1 * index  # hardly trained, a network answers with boxes as large as the image
            label.write_text(f"0 0.5 0.5 {side} {side}\n")
    described = "train: images/train\nval: images/val\nnames: [cell]\n"
    (root / "data" / "data.yaml").write_text(described)
    for variant in VARIANTS:
        argv = ["train", "--run", str(root / variant), "--data", str(root / "data"), "--variant", variant]
        assert main([*argv, "--quiet", *OPTIONS]) == 0
        for seed in (0, 1, 2):
            copy_of(root / variant, seed, root / f"{variant}-{seed}", shift=0.2)
    return root


def command(runs, *more, first="sparsight-n", second="yolov12-n", seeds=(0, 1, 2)):
    sides = ([str(runs / f"{variant}-{seed}") for seed in seeds] for variant in (first, second))
    one, other = sides
    return ["compare-seeds", *one, "--against", *other, "--draws", "20", "--quiet", *more]


def test_runs_are_measured_once_and_the_figures_agree_with_evaluate(capsys, runs):
    assert main(command(runs, "--json")) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err.count("measuring ") == 7  # the data, and six checkpoints
    assert (found["images"], found["seeds"]) == (4, [0, 1, 2])
    assert [found[side]["name"] for side in ("first", "second")] == ["sparsight-n K=2", "yolov12-n"]
    assert found["first"]["gflops"][0] != found["second"]["gflops"][0]
    differences = [
        a - b for a, b in zip(found["first"]["map50_95"], found["second"]["map50_95"], strict=True)
    ]
    assert np.ptp(differences) > 0, "the runs must differ, or this test proves nothing"
    assert found["lead"] == pytest.approx(fmean(differences))
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert found["interval_by_seeds"] == pytest.approx(tuple(expected))
    assert found["interval_by_images"][0] <= found["lead"] <= found["interval_by_images"][1]
    assert (found["left_out"], found["differing"]) == ([], [])

    assert main(["evaluate", str(runs / "yolov12-n-1" / MODEL_FILE), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["map50_95"] == pytest.approx(found["second"]["map50_95"][1])

    assert main(command(runs, "--json")) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == found
    assert captured.err.count("measured before: ") == 6
    assert captured.err.count("measuring ") == 1

    assert main(command(runs, "--top-k", "1")) == 0
    captured = capsys.readouterr()
    assert captured.err.count("measured before: ") == 3, "another K is measured, the others are not"
    assert "sparsight-n K=1" in captured.out
    assert "top_k=9: sparsight-n can run with" in failure(capsys, *command(runs, "--top-k", "9"))


def test_the_report_says_what_is_decided(capsys, runs):
    assert main(command(runs, first="yolov12-n")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 images, 3 seeds, checkpoints of the last epoch"
    assert lines[1].split() == ["mAP50-95", "first:", "yolov12-n", "second:", "yolov12-n", "difference"]
    assert [line.split()[:2] for line in lines[2:5]] == [["seed", str(seed)] for seed in range(3)]
    assert lines[5].split()[0] == "mean"
    assert lines[6].startswith("standard deviation")
    assert lines[8].startswith("GFLOPs used")
    assert lines[9:] == [
        "lead of first: yolov12-n over second: yolov12-n: +0.00 points of mAP50-95",
        "  95 % interval by images (20 bootstrap samples): +0.00 to +0.00",
        "  95 % interval by seeds (Student's t): +0.00 to +0.00",
        "verdict: not decided, because both intervals contain 0",
        "to take: first: yolov12-n (not decided; fewer GFLOPs count if the mean is at most 0.5 point behind)",
    ]


def test_runs_without_a_partner_and_unfinished_runs_are_named_and_nothing_is_decided(capsys, runs, tmp_path):
    unfinished = copy_of(runs / "yolov12-n-0", 1, tmp_path / "a", epochs=3, epoch="2")
    started = tmp_path / "b"
    started.mkdir()
    shutil.copy(unfinished / CONFIG_FILE, started / CONFIG_FILE)
    one = [str(runs / f"sparsight-n-{seed}") for seed in (0, 1)]
    argv = ["compare-seeds", *one, "--against", str(runs / "yolov12-n-0"), str(unfinished), str(started)]
    assert main([*argv, "--draws", "2", "--quiet"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("4 images, 1 seed,")
    assert f"left out: {unfinished}: not finished, epoch 2 of 3" in said
    assert f"left out: {started}: not finished, epoch 0 of 3" in said
    assert f"left out: {runs / 'sparsight-n-1'}: the other side has no finished run with this seed" in said
    assert said[-3:] == [
        "  95 % interval by seeds (Student's t): with one seed, there is none",
        "verdict: not decided, because 3 seeds are needed",
        "to take: open until there are 3 seeds",
    ]
    said = failure(capsys, "compare-seeds", one[1], "--against", str(unfinished))
    assert "no seed has a finished run on both sides" in said


def test_runs_that_differ_in_more_than_the_seed_are_no_side(capsys, runs, tmp_path):
    longer = copy_of(runs / "yolov12-n-0", 7, tmp_path / "a", batch_size=4)
    argv = ["compare-seeds", str(runs / "yolov12-n-0"), str(longer), "--against", str(runs / "sparsight-n-0")]
    said = failure(capsys, *argv)
    assert "differs from" in said
    assert "in more than the seed: batch_size 2, now 4" in said
    twice = ["compare-seeds", str(runs / "yolov12-n-0"), str(runs / "yolov12-n-0"), "--against", str(longer)]
    assert "have the same seed 0: give each seed once" in failure(capsys, *twice)
    argv = ["compare-seeds", str(runs / "yolov12-n-0" / MODEL_FILE), "--against", str(longer)]
    assert "is not the folder of a run with a config.json" in failure(capsys, *argv)


def test_a_different_budget_of_the_other_side_is_reported(capsys, runs, tmp_path):
    other = copy_of(runs / "yolov12-n-0", 0, tmp_path / "a", batch_size=4)
    argv = ["compare-seeds", str(runs / "sparsight-n-0"), "--against", str(other), "--draws", "2", "--quiet"]
    assert main(argv) == 0
    assert "the two sides differ in a setting: batch_size 2, now 4" in capsys.readouterr().out


@pytest.mark.parametrize("flag", [["--hold-out", "0.2"], ["--format", "yolo"], ["--bits", "12"]])
def test_the_data_of_a_run_is_read_as_in_the_run(capsys, runs, flag):
    one, other = (runs / f"{variant}-0" for variant in VARIANTS)
    checkpoints = [str(one / MODEL_FILE), str(other / MODEL_FILE)]
    for argv in (
        ["compare", *checkpoints],
        ["compare-seeds", str(one), "--against", str(other)],
        ["pareto", *checkpoints],
    ):
        assert "a run's own data is read as in the run: give --data" in failure(capsys, *argv, *flag)


def test_a_damaged_measurement_is_measured_again(capsys, runs):
    assert main(command(runs, seeds=(0,))) == 0
    kept = [path for name in VARIANTS for path in (runs / f"{name}-0").glob("measured-*.npz")]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    capsys.readouterr()
    assert main(command(runs, seeds=(0,))) == 0
    said = capsys.readouterr().err
    assert said.count("is damaged, so the checkpoint is measured again") == 2
    assert main(command(runs, seeds=(0,))) == 0
    assert "is damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["masks", "keypoints", "corners"])
def test_detections_are_kept_exactly(tmp_path, name):
    _, found = random_images(name, images=5)
    empty = found[2].where(np.zeros(len(found[2].scores), bool))
    measured = Measurement((*found[:2], empty, *found[3:]), 1.25)
    keep(tmp_path / MODEL_FILE, "ab" * 32, measured)
    kept = read_kept(tmp_path / MODEL_FILE, "ab" * 32)
    assert kept.gflops == 1.25
    for one, other in zip(kept.detections, measured.detections, strict=True):
        for field in ("boxes_xyxy", "scores", "class_ids", "keypoints", "corners"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        assert one.masks == other.masks
    file_of(tmp_path / MODEL_FILE, "ab" * 32).rename(file_of(tmp_path / MODEL_FILE, "cd" * 32))
    assert read_kept(tmp_path / MODEL_FILE, "cd" * 32) is None, "another key is in the file"


def test_a_folder_that_cannot_be_written_costs_only_the_next_measurement(caplog, tmp_path):
    _, found = random_images("corners", images=2)
    keep(tmp_path / "gone" / MODEL_FILE, "ab" * 32, Measurement(tuple(found), 1.0))
    assert "cannot be written" in caplog.text


def test_a_lead_of_three_seeds_is_said_in_words(runs, monkeypatch):
    """Set the intervals, because three tiny runs decide nothing."""
    pairs, left_out = workflow.pair_runs(
        *([runs / f"{variant}-{seed}" for seed in (0, 1, 2)] for variant in VARIANTS)
    )
    found = workflow.compare_seeds(pairs, pairs[0][0].config.val_data, left_out=left_out, draws=2)
    for high, word in ((0.03, "sparsight-n K=2 is ahead"), (-0.01, "yolov12-n is ahead")):
        interval = type(found.lead.of_images)(high - 0.02, high)
        decided = replace(found, lead=replace(found.lead, of_images=interval, of_seeds=interval))
        lines = seeds_report(decided).splitlines()
        assert lines[-2] == f"verdict: {word}; both intervals exclude 0"
        assert lines[-1] == f"to take: {word.removesuffix(' is ahead')}, which is ahead"

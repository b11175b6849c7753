"""The schedule of the comparison with three seeds can be listed, stopped and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.training.yolo_folder import BOX, write_split
from training.models.detector import Detector
from training.models.variants import model_config
from training.trainer.checkpoint import MODEL_FILE, load_provenance, save_model
from training.trainer.report import METRICS_FILE

SCRIPT = Path(__file__).resolve().parents[4] / "training" / "starter" / "three_seeds.sh"
TINY = ("--variants", "yolov12-n", "--seeds", "0 1", "--epochs", "6")
TRAINED = ("--", "--recipe", "quick", "--input", "64", "--batch", "2", "--evaluate-every", "6")


def start(*argv):
    environment = {**os.environ, "PYTHON": sys.executable}
    pipe = subprocess.PIPE
    return subprocess.Popen([SCRIPT, *map(str, argv)], stdout=pipe, stderr=pipe, text=True, env=environment)


def schedule(*argv):
    process = start(*argv)
    out, err = process.communicate(timeout=600)
    return process.returncode, out.replace("three_seeds: ", "").splitlines(), err


def test_the_list_says_what_is_done_and_what_is_left(tmp_path):
    model = Detector(model_config("yolov12-n", ("cat",), (64, 64)))
    for name, epoch in (("yolov12-n-0", "16"), ("esmoe-n-0", "7")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        save_model(tmp_path / "runs" / name / MODEL_FILE, model, {"epoch": epoch})
    code, lines, _ = schedule(tmp_path, tmp_path / "runs", "--seeds", "0 1", "--list")
    assert code == 0
    assert lines == [
        "done: 1 of 6: yolov12-n-0",
        "left: esmoe-n-0 (7 of 16 epochs)",
        "left: sparsight-n-0 (0 of 16 epochs)",
        "left: yolov12-n-1 (0 of 16 epochs)",
        "left: esmoe-n-1 (0 of 16 epochs)",
        "left: sparsight-n-1 (0 of 16 epochs)",
    ]
    before = sorted(tmp_path.rglob("*"))
    one = ("--variants", "yolov12-n", "--seeds", "0")
    assert schedule(tmp_path, tmp_path / "runs", *one) == (0, ["done: 1 of 1: yolov12-n-0"], "")
    assert sorted(tmp_path.rglob("*")) == before, "what is finished is not started again"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "usage: three_seeds.sh DATA RUNS"),
        (["--jobs", "0"], "--jobs and --epochs need a whole number of at least 1, not 0"),
        (["--epochs"], "--epochs needs a value"),
        (["--seeds", "0 a"], "--seeds needs whole numbers, not a"),
        (["--fast"], "unknown option --fast"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, argv, message):
    code, _, said = schedule(*([tmp_path, tmp_path / "runs", *argv] if argv else []))
    assert code == 2
    assert message in said
    assert not (tmp_path / "runs").exists()


def test_without_the_data_nothing_starts(tmp_path):
    code, _, said = schedule(tmp_path / "none", tmp_path / "runs")
    assert (code, said) == (2, f"three_seeds: there is no folder {tmp_path / 'none'}\n")


@pytest.mark.heavy
def test_a_schedule_that_is_stopped_ends_with_the_models_of_one_that_is_not(tmp_path):
    write_split(tmp_path / "data", "train", [BOX] * 4)
    write_split(tmp_path / "data", "val", [BOX] * 2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = start(tmp_path / "data", stopped, *TINY, *TRAINED)
    metrics = stopped / "yolov12-n-0" / METRICS_FILE
    while not metrics.is_file() or not metrics.read_text().strip():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    code, _, said = schedule(tmp_path / "data", stopped, *TINY, *TRAINED)
    assert code == 2
    assert "another schedule trains in" in said
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopping; each run saves its state" in out
    assert "left: yolov12-n-1 (0 of 6 epochs)" in out

    for folder in (stopped, whole):
        code, lines, said = schedule(tmp_path / "data", folder, *TINY, *TRAINED)
        assert (code, lines[-1], said) == (0, "done: 2 of 2: yolov12-n-0 yolov12-n-1", "")
    for seed in (0, 1):
        got, want = (folder / f"yolov12-n-{seed}" / MODEL_FILE for folder in (stopped, whole))
        assert load_provenance(got)["epoch"] == "6"
        mine, theirs = load_file(got), load_file(want)
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
    config = json.loads((whole / "yolov12-n-1" / "config.json").read_text())
    assert (config["seed"], config["epochs"], config["precision"]) == (1, 6, "f32")

    code, lines, said = schedule(tmp_path / "data", whole, "--variants", "none", "--seeds", "0", *TRAINED)
    assert (code, lines[-1]) == (1, "left: none-0 (0 of 16 epochs)")
    assert "failed: none-0 (code 2)" in said

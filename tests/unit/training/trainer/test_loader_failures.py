"""A run whose loader processes die, hang or meet a bad image ends with one sentence and a saved state."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.__main__ import main
from training.trainer.checkpoint import MODEL_FILE, STATE_FILE, load_model

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[4]
STEPS = 48  # 12 epochs of 8 images by 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a YOLO folder of eight images of noise, with a disc in each."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(8):
            image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            cv2.circle(image, (32, 32), 16, (0, 0, 255), -1)
            cv2.imwrite(str(root / "images" / split / f"{number}.png"), image)
            (root / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [disc]\ntrain: images/train\nval: images/val\n")
    return root


def arguments(data, run_dir, *more):
    argv = ["train", "--data", data, "--run", run_dir, "--variant", "yolov12-n", "--input", "64", "--quiet"]
    argv += ["--batch", "2", "--epochs", "12", "--evaluate-every", "12", "--device", "cpu", *more]
    return list(map(str, argv))


def start(argv, *launcher, **options):
    launcher = launcher or (sys.executable, "-m", "training")
    return subprocess.Popen(
        [*launcher, *argv], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def loader_process(process, at_least=1):
    """Return the id of a loader process once it exists."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        found = children.read_text().split()
        if len(found) >= at_least:
            return int(found[0])
        time.sleep(0.01)
    raise AssertionError("no loader process")


def ended(process, timeout_s=240):
    output, errors = process.communicate(timeout=timeout_s)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(arguments(data, run_dir)) == 0
    torch.set_num_threads(threads)
    return run_dir


def test_a_killed_loader_process_is_one_sentence_and_the_same_command_ends_the_same(
    data, undisturbed, tmp_path
):
    run_dir = tmp_path / "run"
    argv = arguments(data, run_dir, "--workers", "2")
    process = start(argv)
    os.kill(loader_process(process, 2), signal.SIGKILL)
    code, output, errors = ended(process)
    assert code == 1
    assert errors.count("\n") == 1
    assert errors.startswith("training: a loader process ended by SIGKILL")
    assert "--workers" in errors
    assert "; the same command resumes" in output
    assert (run_dir / STATE_FILE).exists()
    code, output, errors = ended(start(argv))
    assert (code, errors) == (0, "")
    assert "resuming from step" in output
    for name in (MODEL_FILE, STATE_FILE):
        got, want = load_file(run_dir / name), load_file(undisturbed / name)
        assert got.keys() == want.keys()
        assert [key for key in want if not torch.equal(got[key], want[key])] == []


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_decoded_ends_the_run_with_its_name(data, tmp_path, workers):
    broken, run_dir = tmp_path / "broken", tmp_path / "run"
    shutil.copytree(data, broken)
    assert ended(start(arguments(broken, run_dir, "--epochs", "1")))[0] == 0
    torn = broken / "images" / "train" / "5.png"
    torn.write_bytes(b"no image")  # after the look at all images that begins a new run
    code, output, errors = ended(start(arguments(broken, run_dir, "--workers", workers)))
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"training: {torn}: ")
    assert "the same command resumes" in output
    shutil.copy(data / "images" / "train" / "5.png", torn)
    code, output, errors = ended(start(arguments(broken, run_dir, "--workers", workers)))
    assert (code, errors) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_whose_loader_process_is_stopped(data, tmp_path, number):
    process = start(arguments(data, tmp_path / "run", "--workers", "1"))
    worker = loader_process(process)
    os.kill(worker, signal.SIGSTOP)
    time.sleep(2)  # the batches that were ready are used up
    assert process.poll() is None
    process.send_signal(number)
    code, output, errors = ended(process, 20)
    assert (code, errors) == (130, "")
    assert "stopped after" in output
    assert load_model(tmp_path / "run" / MODEL_FILE)[0].config.input_hw == (64, 64)
    assert not Path(f"/proc/{worker}").exists()


def test_loader_processes_of_a_killed_run_end_by_themselves(data, tmp_path):
    process = start(arguments(data, tmp_path / "run", "--workers", "2"))
    loader_process(process, 2)
    process.kill()
    # Its output ends when no loader process has it open any more.
    assert ended(process, 20)[0] == -signal.SIGKILL


SLOW = """
import sys, time
from training import __main__
from training.data.labels.labelled_files import LabelledFiles
from training.data.loading.loader import CachedDataset
from training.tasks.detect import DETECT
kind, *argv = sys.argv[1:]
def slowly(read):
    def slow(self, index, *fit):
        if index == 3:
            print("slow", flush=True)
            time.sleep(600)
        return read(self, index, *fit)
    return slow
def evaluate(*arguments, **more):
    print("slow", flush=True)
    time.sleep(600)
if kind == "decoding":
    CachedDataset._read = slowly(CachedDataset._read)
elif kind == "look":
    LabelledFiles.load = slowly(LabelledFiles.load)
else:
    type(DETECT).evaluate = evaluate
sys.exit(__main__.main(argv))
"""


@pytest.mark.parametrize("kind", ["decoding", "validation"])
def test_a_signal_ends_a_run_that_decodes_or_validates(data, tmp_path, kind):
    process = start([kind, *arguments(data, tmp_path / "run", "--epochs", "1")], sys.executable, "-c", SLOW)
    while process.stdout.readline() != "slow\n":
        assert process.poll() is None, process.communicate()
    process.terminate()
    code, output, errors = ended(process, 20)
    assert (code, errors) == (130, "")
    steps = 4 if kind == "validation" else 0
    assert f"stopped after {steps} steps; the same command resumes" in output
    assert (tmp_path / "run" / STATE_FILE).exists()


def test_a_signal_ends_the_look_at_all_images_before_a_run(data, tmp_path):
    process = start(["look", *arguments(data, tmp_path / "run")], sys.executable, "-c", SLOW)
    while process.stdout.readline() != "slow\n":
        assert process.poll() is None, process.communicate()
    process.terminate()
    assert ended(process, 20) == (-signal.SIGTERM, "", "")
    assert not (tmp_path / "run").exists()  # there is nothing to save yet


def start_two(data, run_dir):
    """Start a run of two processes; return torchrun's process and the id of one loader process."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    argv = arguments(data, run_dir, "--workers", "1")
    argv = argv[: argv.index("--device")] + argv[argv.index("--device") + 2 :]
    process = start(argv, *launcher, "-m", "--", "training")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        for rank in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if found := Path(f"/proc/{rank}/task/{rank}/children").read_text().split():
                return process, int(found[0])
    raise AssertionError("no loader process")


def test_a_loader_process_of_one_rank_ends_all_ranks_with_a_state(data, tmp_path):
    process, worker = start_two(data, tmp_path / "run")
    os.kill(worker, signal.SIGKILL)
    code, output, errors = ended(process)
    assert code == 1
    assert errors.count("training: a loader process ended by SIGKILL") == 1
    assert errors.count("training: another process of this run has ended") == 1
    assert output.count("the same command resumes") == 1
    assert (tmp_path / "run" / STATE_FILE).exists()


def test_a_signal_ends_all_ranks_if_the_loader_process_of_one_is_stopped(data, tmp_path):
    process, worker = start_two(data, tmp_path / "run")
    os.kill(worker, signal.SIGSTOP)
    time.sleep(3)  # the batches that were ready are used up
    assert process.poll() is None, process.communicate()
    process.terminate()
    _, output, _ = ended(process, 25)  # torchrun would kill after 30 s
    assert output.count("; the same command resumes") == 1
    assert (tmp_path / "run" / STATE_FILE).exists()

"""The commands of training/WALK.md run one after another, and print what the page shows."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.integration.service.conftest import serve, wait_until_ready
from tests.labelled_scenes import write_coco, write_roboflow_yolo, write_video
from training import load
from training.__main__ import main

PAGE = Path(__file__).resolve().parents[2] / "training" / "WALK.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d.]*(?![\w])|(?<= )-(?= |$)")  # a mean of no class is a hyphen


def steps():
    """Yield each command of the page's console blocks with the lines that it prints."""
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = step.splitlines()
            yield command, lines


def plain(text):
    """Return a line with single spaces and `#` for each number."""
    return NUMBER.sub("#", " ".join(text.split()))


def missing(lines, printed):
    """Return the lines of the page that were not printed; … stands for any text."""
    seen = [plain(line) for line in re.split(r"[\r\n]", printed)]
    patterns = {line: ".*".join(map(re.escape, plain(line).split("…"))) for line in lines}
    return [line for line, pattern in patterns.items() if not any(re.fullmatch(pattern, x) for x in seen)]


def answer_to(image):
    """Return the answer of a service that serves the exported model as the page says."""
    with serve(repository=Path("models"), default_model="mine") as served:
        assert wait_until_ready(served).status_code == 200
        return served.detect(image.read_bytes()).text


def test_a_line_that_is_not_printed_is_missed_and_numbers_may_differ():
    lines = ["…/data.yaml: read", "  disc  25  0.1419", "done: …"]
    assert missing(lines, "/tmp/a/data.yaml: read\n  disc 3   -\ndone: runs\n") == []
    assert missing(lines, "/tmp/a/data.yaml: read\n  ring 3   0.5\n") == lines[1:]


@pytest.mark.heavy
def test_the_walk_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_roboflow_yolo(Path("scenes"), (60, 12, 6), side=160)
    write_coco(Path("scenes-coco"), 40, side=160)
    write_video(Path("walk.mp4"), frames=10, side=160)
    shutil.copy(next(Path("scenes/test/images").glob("*_005_*")), "photo.jpg")
    walked = []
    for command, lines in steps():
        program, *words = shlex.split(command)
        output = ""
        if program == "rm":
            Path(words[0]).unlink()
        elif program == "curl":
            output = answer_to(Path(words[1].removeprefix("@")))
        else:
            assert [program, *words[:2]] == ["python", "-m", "training"]
            code = main(["3" if word == "10" else word for word in words[2:]])  # instead of 10 epochs
            output = "\n".join(capsys.readouterr())
            fails = any(line.startswith("training: ") for line in lines)
            assert (command, code) == (command, int(fails)), output
        assert missing(lines, output) == [], output
        walked.append(program if program != "python" else words[2])
    assert set(walked) >= {"check", "look", "train", "evaluate", "predict", "export", "curl"}
    assert load("runs/mine").predict("photo.jpg").plot().ndim == 3
    assert Path("found/walk.mp4").exists()

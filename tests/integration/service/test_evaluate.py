"""A running service is measured by `evaluate --url`, with the figures and plots of a checkpoint."""

import json

import pytest

from tests.builders import golden_image, image_bytes
from training.__main__ import main


@pytest.fixture
def labelled(tmp_path):
    """Write a YOLO folder with one image: a red object where the tiny model finds one, and a green one."""
    folder = tmp_path / "data"
    for part, content in (
        ("images/val/a.png", image_bytes(golden_image())),
        ("labels/val/a.txt", b"0 0.3125 0.3125 0.5 0.5\n1 0.9 0.9 0.1 0.1\n"),
        ("data.yaml", b"train: images/val\nval: images/val\nnames: [red, green, blue]\n"),
    ):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_bytes(content)
    return folder


def test_a_service_is_measured_with_precision_recall_and_plots(served, labelled, tmp_path, capsys):
    plots = tmp_path / "plots"
    argv = ["evaluate", "--url", served.url, "--data", str(labelled), "--quiet", "--plots", str(plots)]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 1
    assert found["experts"] is None
    assert found["best_f1"]["by_class"]["red"]["recall"] == 1
    assert found["best_f1"]["by_class"]["green"]["f1"] == 0
    assert found["best_f1"]["recall"] == pytest.approx(0.5)
    assert (plots / "f1_curve.png").is_file()
    rows = (plots / "confusion_matrix.csv").read_text().splitlines()
    assert rows[1:3] == ["red,1,0,0,0", "green,0,0,0,1"]
    assert main(argv) == 0
    assert "1 images   mAP50 0.5000 " in capsys.readouterr().out

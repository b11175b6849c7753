"""The convert command: its messages and output file, and when it writes nothing."""

import hashlib
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.convert.foreign_models import TOP_TWO, foreign_classes, foreign_model, save
from tests.unit.training.messages import collecting
from training.__main__ import main
from training.convert.command import convert, next_steps
from training.convert.convert import read_foreign
from training.convert.expect import OUTPUTS, Difference, as_table
from training.errors import CheckpointError
from training.trainer.checkpoint import load_model


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """Return a YOLO-Master checkpoint of three classes for 64 × 64 images."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("foreign") / "Best.pt"
    with foreign_classes() as make:
        return save(path, foreign_model(make, mixture=TOP_TWO))


@pytest.fixture(scope="module")
def answers(foreign) -> dict[str, np.ndarray]:
    """Return two images and what the converted detector answers to them."""
    model = read_foreign(foreign).model
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        boxes, scores = model.decode(model(images))
    return {"images": images.numpy(), "boxes": boxes.numpy(), "scores": scores.numpy()}


def test_a_converted_file_is_loaded_by_name_and_tells_where_it_comes_from(foreign, tmp_path):
    with collecting() as said:
        output = convert(foreign, tmp_path / "mine.safetensors")
    model, provenance = load_model(output)
    assert (model.config.variant, model.config.class_names) == ("esmoe-n", ("class 0", "class 1", "class 2"))
    assert not model.training
    assert provenance == {
        "data": "",
        "source": "Best.pt",
        "source sha256": hashlib.sha256(foreign.read_bytes()).hexdigest(),
        "source kind": "YOLO-Master EsMoE",
        "source version": "8.3.240",
        "source date": "2026-01-02T03:04:05",
        "note": provenance["note"],
    }
    text = "\n".join(said)
    for part in (
        "YOLO-Master EsMoE, here esmoe-n",
        "3: class 0, class 1, class 2",
        "64x64",
        "4 experts, 2 run",
    ):
        assert part in text
    assert f"python -m training export {output} --name mine" in text
    assert "eager mode" in text
    assert "eager mode" in provenance["note"]


def test_the_output_lies_beside_the_input_and_replaces_nothing(foreign, tmp_path):
    copy = tmp_path / "model.pt"
    copy.write_bytes(foreign.read_bytes())
    assert convert(copy) == tmp_path / "model.safetensors"
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"model\.safetensors exists already; .*--output"):
        convert(copy)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    with pytest.raises(CheckpointError, match="no folder"):
        convert(copy, tmp_path / "none" / "model.safetensors")


def test_what_is_no_foreign_file_is_said_to_be_none(foreign, tmp_path):
    own = convert(foreign, tmp_path / "mine.safetensors")
    for path, said in (
        (Path(), r"no file at \."),
        (Path("/"), "no file at /"),
        (tmp_path / "gone.pt", r"no file at .*gone\.pt"),
        (own, r"mine\.safetensors is no \.pt"),
    ):
        with pytest.raises(CheckpointError, match=said):
            convert(path)
    with pytest.raises(CheckpointError, match=r"--output is .*Best\.pt itself") as caught:
        convert(foreign, foreign)
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("Best", "best"),
        ("my model; rm -r x", "my-model-rm--r-x"),
        ("_größe.v1", "gr-e.v1"),
        ("模型", "model"),
        ("x" * 80, "x" * 64),
    ],
)
def test_the_next_steps_can_be_typed_as_they_are(stem, name):
    output = Path("some folder") / f"{stem}.safetensors"
    measure, export = (shlex.split(line.split(":", 1)[1]) for line in next_steps(output).splitlines())
    assert measure[3:5] == ["evaluate", str(output)]
    assert export[3:] == ["export", str(output), "--name", name]


def run(capsys, *argv) -> tuple[int, str, str]:
    """Exit code, output and errors of the command line."""
    code = main(["convert", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_line_converts_and_holds_it_against_answers(foreign, answers, tmp_path, capsys):
    np.savez(tmp_path / "answers.npz", **answers)
    output = tmp_path / "mine.safetensors"
    code, out, err = run(capsys, foreign, "--output", output, "--expect", tmp_path / "answers.npz")
    assert code == 0
    for part in ("here esmoe-n", "input       64x64", "largest difference", f"wrote {output}"):
        assert part in out + err
    assert load_model(output)[0].config.input_hw == (64, 64)
    code, out, err = run(capsys, foreign, "--output", tmp_path / "wide.safetensors", "--input", "64x96")
    assert code == 0
    assert load_model(tmp_path / "wide.safetensors")[0].config.input_hw == (64, 96)


def test_the_command_line_exits_with_1_and_one_line_when_nothing_was_written(
    foreign, answers, tmp_path, capsys
):
    answers["scores"][0, 0, 0] += 0.5
    np.savez(tmp_path / "answers.npz", **answers)
    answers["scores"][0, 0, 0] -= 0.5
    output = tmp_path / "mine.safetensors"
    code, _, err = run(capsys, foreign, "--output", output, "--expect", tmp_path / "answers.npz")
    assert code == 1
    assert err.splitlines()[-1] == (
        f"training: {foreign} answers differently after conversion; nothing was written"
    )
    assert run(capsys, ".", "--output", output) == (1, "", "training: no file at .\n")
    assert not output.exists()


def test_the_same_answers_are_accepted_and_shown(foreign, answers, tmp_path):
    np.savez(tmp_path / "answers.npz", **answers)
    with collecting() as said:
        output = convert(foreign, tmp_path / "mine.safetensors", expect=tmp_path / "answers.npz")
    assert output.exists()
    assert "largest difference" in said[1]
    assert "too far" not in said[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("scores", 2e-4, id="score"),
        pytest.param("boxes", 0.1, id="box"),
        pytest.param("scores", np.nan, id="NaN score"),
        pytest.param("boxes", np.nan, id="NaN box"),
    ],
)
def test_one_different_answer_writes_nothing(name, value, foreign, answers, tmp_path):
    changed = {key: array.copy() for key, array in answers.items()}
    changed[name][1, 5, 2] += value
    np.savez(tmp_path / "answers.npz", **changed)
    different = pytest.raises(
        CheckpointError, match="answers differently after conversion; nothing was written"
    )
    with collecting() as said, different:
        convert(foreign, tmp_path / "out.safetensors", expect=tmp_path / "answers.npz")
    assert [line.split()[0] for line in said[1].splitlines() if line.endswith("too far")] == [name]
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"scores": None}, "needs arrays images, boxes, scores", id="an array is missing"),
        pytest.param({"scores": np.zeros((2, 84, 3))}, "scores is float64", id="other type"),
        pytest.param(
            {"boxes": np.zeros((2, 84), "f4")}, r"boxes is float32 \[2, 84\]", id="other dimensions"
        ),
        pytest.param({"scores": np.zeros((2, 84, 9), "f4")}, r"\(84, 9\).*ours", id="other classes"),
        pytest.param(
            {"scores": np.zeros((1, 84, 3), "f4")}, "2 images, but answers to 1", id="fewer answers"
        ),
        pytest.param(
            {"images": np.zeros((2, 96, 64, 3), "u1")}, "are 96x64, the model takes 64x64", id="size"
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused(change, said, foreign, answers, tmp_path):
    arrays = {key: array for key, array in {**answers, **change}.items() if array is not None}
    np.savez(tmp_path / "answers.npz", **arrays)
    with pytest.raises(CheckpointError, match=said):
        convert(foreign, tmp_path / "out.safetensors", expect=tmp_path / "answers.npz")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_of_answers_that_is_none_is_refused(foreign, tmp_path):
    for data in (b"", b"hello", b"PK\x03\x04"):
        (tmp_path / "answers.npz").write_bytes(data)
        with pytest.raises(CheckpointError, match=r"answers\.npz needs arrays"):
            convert(foreign, tmp_path / "o.safetensors", expect=tmp_path / "answers.npz")


def test_limits_are_met_at_their_value_and_nan_never_is():
    boxes, scores = OUTPUTS["detect"]
    assert Difference(boxes, 5.0, 1e-3).within
    assert not Difference(boxes, 5.0, 1.1e-3).within
    assert Difference(scores, 1e-4, 1e-4).within
    assert not Difference(scores, 1.1e-4, 1.1e-4).within
    broken = Difference(scores, float("nan"), float("nan"))
    assert not broken.within
    assert "nan" in as_table([broken])

"""Whole checkpoints are converted with every tensor, or refused with the name of the wrong part."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.training.convert.foreign_models import (
    RELEASED,
    SPATIAL,
    TOP_TWO,
    Mixture,
    Shells,
    foreign_classes,
    foreign_model,
    save,
)
from training.convert.convert import read_foreign
from training.errors import CheckpointError
from training.models.network import count_parameters

FIXED_BINS = 16  # counted by torch in the file, a formula here


def write(path: Path, mixture: Mixture | None = None, size: str = "n", classes: int = 3) -> dict[str, Any]:
    """Save a model; returns its state dict as the file has it."""
    with foreign_classes() as make:
        model = foreign_model(make, size, classes, mixture)
        save(path, model)
        return dict(model.state_dict())


@pytest.mark.parametrize(
    ("mixture", "variant", "tensors", "parameters"),
    [
        pytest.param(None, "yolov12-n", 691, 2_602_288, id="YOLO12"),
        pytest.param(RELEASED, "esmoe-n", 811, 2_694_364, id="EsMoE as released"),
        pytest.param(TOP_TWO, "esmoe-n", 839, 2_844_648, id="EsMoE with four experts"),
        pytest.param(SPATIAL, "modular-n", 1081, 7_546_984, id="v0.1"),
    ],
)
def test_every_tensor_of_the_published_models_is_used(mixture, variant, tensors, parameters, tmp_path):
    foreign = write(tmp_path / "foreign.pt", mixture, classes=80)
    conversion = read_foreign(tmp_path / "foreign.pt")
    assert (conversion.model.config.variant, conversion.tensors) == (variant, tensors)
    assert count_parameters(conversion.model) + FIXED_BINS == parameters
    layers = conversion.model.config.mixtures.values()
    assert {layer.gate_epsilon for layer in layers} == {SPATIAL: {1e-6}, None: set()}.get(mixture, {0.0})
    assert sum_of(conversion.model.state_dict()) == pytest.approx(
        sum_of(foreign) - sum(range(FIXED_BINS)), rel=1e-6
    )


def sum_of(state: dict[str, torch.Tensor]) -> float:
    """Sum of absolute values, which no renaming changes."""
    return sum(float(tensor.double().abs().sum()) for tensor in state.values())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("size", "mixture", "parameters"),
    [
        pytest.param("s", RELEASED, 9_706_828, id="EsMoE-S"),
        pytest.param("m", None, 20_199_168, id="YOLO12-M"),
        pytest.param("l", SPATIAL, 58_459_416, id="v0.1-L"),
        pytest.param("x", None, 59_210_784, id="YOLO12-X"),
    ],
)
def test_larger_sizes_are_recognised_by_width_and_depth(size, mixture, parameters, tmp_path):
    write(tmp_path / "foreign.pt", mixture, size, classes=80)
    conversion = read_foreign(tmp_path / "foreign.pt")
    assert conversion.model.config.variant.endswith(f"-{size}")
    assert count_parameters(conversion.model) + FIXED_BINS == parameters


def test_experts_and_how_many_run_are_read_from_the_file(tmp_path):
    for mixture, expected in ((RELEASED, (3, 3, (3, 5, 7))), (TOP_TWO, (4, 2, (3, 5, 7, 9)))):
        write(tmp_path / "foreign.pt", mixture)
        conversion = read_foreign(tmp_path / "foreign.pt")
        layer = conversion.model.config.mixtures["backbone.p2"]
        assert (layer.num_experts, layer.top_k, layer.kernel_sizes) == expected
        assert any("eager mode" in note for note in conversion.recognised.notes) == (mixture is TOP_TWO)


@pytest.mark.parametrize(
    "settings", [(("top_k", 2), ("use_top_k", False)), (("top_k", 4),)], ids=["switched off", "all four"]
)
def test_top_k_that_was_not_in_use_is_not_used(settings, tmp_path):
    write(tmp_path / "foreign.pt", Mixture(experts=(4,) * 4, settings=settings))
    assert read_foreign(tmp_path / "foreign.pt").model.config.top_k == 4


@pytest.mark.parametrize(
    ("mixture", "said"),
    [
        pytest.param(
            Mixture(experts=(4,) * 4, settings=(("top_k", 2),)),
            "top_k=2 for 4 experts, but no use_top_k",
            id="not said whether the best or all",
        ),
        pytest.param(
            Mixture(experts=(3, 4, 3, 3)),
            r"layers run backbone\.p2 3 of 3, backbone\.p3 4 of 4, .* experts; here one K must fit all",
            id="another K in each layer",
        ),
    ],
)
def test_mixtures_that_need_more_than_one_model_are_refused(mixture, said, tmp_path):
    write(tmp_path / "foreign.pt", mixture)
    with pytest.raises(CheckpointError, match=rf"foreign\.pt: .*{said}"):
        read_foreign(tmp_path / "foreign.pt")


def test_the_average_comes_first_and_the_input_is_what_it_was_trained_at(tmp_path):
    path = tmp_path / "last.pt"
    with foreign_classes() as make:
        model, average = (foreign_model(make) for _ in range(2))
        average.model[0].conv.weight.data.fill_(0.5)
        save(path, model, ema=average.half(), train_args={"imgsz": [100, 128]})
    conversion = read_foreign(path)
    assert conversion.found.averaged
    assert conversion.model.backbone.stem.conv.weight.unique().tolist() == [0.5]
    assert conversion.model.config.input_hw == (128, 128)  # its own trainer rounds 100 up as well
    assert read_foreign(path, (64, 96)).model.config.input_hw == (64, 96)


def change(model: Any, where: str, **settings: Any) -> None:
    part = model.get_submodule(where)
    for name, value in settings.items():
        setattr(part, name, value)


def replace(model: Any, where: str, part: Any) -> None:
    parent, _, name = where.rpartition(".")
    setattr(model.get_submodule(parent), name, part)


def forget(part: Any, name: str) -> None:
    setattr(part, name, None)


REFUSED_YOLO12 = {
    "stride": (
        lambda model, make: change(model, "model.3.conv", stride=(1, 1)),
        r"model\.3\.conv \(Conv2d\) has stride=\(1, 1\); expected \(2, 2\)",
    ),
    "eps": (
        lambda model, make: change(model, "model.4.cv1.bn", eps=1e-4),
        r"model\.4\.cv1\.bn \(BatchNorm2d\) has eps=0\.0001; expected 0\.001 or 1e-05",
    ),
    "no shortcut": (
        lambda model, make: change(model, "model.2.m.0", add=False),
        r"model\.2\.m\.0 \(Bottleneck\) has add=False",
    ),
    "other area": (
        lambda model, make: change(model, "model.6.m.0.1.attn", area=1),
        r"attn \(AAttn\) has area=1",
    ),
    "activation": (
        lambda model, make: replace(model, "model.0.act", nn.ReLU()),
        r"model\.0\.act is ReLU; expected SiLU",
    ),
    "no activation": (
        lambda model, make: forget(model.model[0], "act"),
        r"model\.0\.act is missing; expected SiLU",
    ),
    "weights that share their numbers": (
        lambda model, make: replace(model, "model.6.m.0.1", model.model[6].m[0][0]),
        r"the tensors have \d+ bytes, but share \d+ bytes of the file",
    ),
    "a negative variance": (
        lambda model, make: model.model[1].bn.running_var[0].fill_(-0.5),
        r"model\.1\.bn\.running_var holds a negative variance",
    ),
    "a module for the terminal": (
        lambda model, make: model.model[21]._modules.update({"a\x1b[2J": nn.Conv2d(1, 1, 1)}),
        r"a name that cannot be shown: 'a\\x1b\[2J'",
    ),
    "a tensor for the terminal": (
        lambda model, make: model.model[21]._buffers.update({"a\x1b[2J": torch.zeros(1)}),
        r"a name that cannot be shown: 'a\\x1b\[2J'",
    ),
    "a name that is a path": (
        lambda model, make: model.model[21]._modules.update({"cv2.0": nn.Conv2d(1, 1, 1)}),
        r"Detect has a part named 'cv2\.0'",
    ),
    "parts without end": (
        lambda model, make: model.model[21]._buffers.update({f"b{index}": None for index in range(1001)}),
        "Detect has 1001 _buffers; 1000 is the limit",
    ),
    "a class name too long": (lambda model, make: model.names.update({1: "x" * 201}), "class 1 has no name"),
    "classes without end": (
        lambda model, make: model.names.update({index: f"class {index}" for index in range(10_001)}),
        "has 10001 classes; 10000 is the limit",
    ),
    "activation where none is": (
        lambda model, make: replace(model, "model.6.m.0.0.attn.qkv.act", nn.SiLU()),
        r"qkv\.act is SiLU; expected Identity",
    ),
    "wrong class": (
        lambda model, make: replace(model, "model.2.m.0", Shells(make).c3k(16)),
        r"model\.2\.m\.0 is C3k; expected Bottleneck",
    ),
    "one block more": (
        lambda model, make: model.model[2].m.append(Shells(make).bottleneck(16, 8)),
        r"model\.2\.m\.1 \(Bottleneck\) is one too many in ModuleList",
    ),
    "missing part": (lambda model, make: forget(model.model[8], "cv2"), r"model\.8\.cv2 is missing in A2C2f"),
    "missing tensor": (
        lambda model, make: forget(model.model[1].bn, "running_var"),
        r"model\.1\.bn\.running_var is missing in BatchNorm2d; expected \[32\]",
    ),
    "fused": (
        lambda model, make: replace(model, "model.1.conv", nn.Conv2d(16, 32, 3, 2, 1)),
        r"model\.1\.conv\.bias of \[32\] is one too many in Conv2d: .*fused",
    ),
    "misshapen": (
        lambda model, make: replace(model, "model.5.conv", nn.Conv2d(128, 64, 3, 2, 1, bias=False)),
        r"model\.5\.conv\.weight \(Conv2d\) is \[64, 128, 3, 3\]; expected \[128, 128, 3, 3\]",
    ),
    "extra weights": (
        lambda model, make: setattr(model.model[21], "one2one", nn.Conv2d(1, 1, 1)),
        r"model\.21\.one2one\.(weight|bias) \(Conv2d\) is one too many: yolov12-n lacks it",
    ),
    "whole numbers": (
        lambda model, make: model.model[1].bn._parameters.update(weight=whole_numbers(32)),
        r"model\.1\.bn\.weight \(BatchNorm2d\) is of torch\.int32; expected torch\.float32",
    ),
    "a setting that is very deep": (
        lambda model, make: change(model, "model.3.conv", stride=nested(300)),
        r"model\.3\.conv \(Conv2d\) has stride=\[\[",
    ),
    "other bins": (
        lambda model, make: model.model[21].dfl.conv.weight.data.mul_(2),
        r"model\.21\.dfl\.conv\.weight is not \[0, 1, 2",
    ),
    "other strides": (
        lambda model, make: change(model, "model.21", stride=torch.tensor([4.0, 8.0, 16.0])),
        r"model\.21\.stride is not \[8, 16, 32\]",
    ),
    "upsampling": (
        lambda model, make: change(model, "model.9", mode="bilinear"),
        r"layer 9 \(Upsample\) has mode='bilinear'; expected 'nearest'",
    ),
    "not a number": (
        lambda model, make: model.model[14].cv1.conv.weight.data[0].fill_(float("nan")),
        r"model\.14\.cv1\.conv\.weight holds NaN or infinite",
    ),
    "other source": (
        lambda model, make: change(model, "model.10", f=[-1, 4]),
        r"layer 10 is Concat of layer 9 and 4; .*YOLO12 model has Concat of layer 9 and 6 there",
    ),
    "other size": (
        lambda model, make: replace(model, "model.0", with_place(Shells(make).conv(24, 3, 3, 2))),
        r"first layer has 24 channels, its stage at stride 16 2 blocks; known are n \(16, 2\)",
    ),
    "a head that finds words": (
        lambda model, make: replace(model, "model.21", make("modules.head.WorldDetect")),
        "layer 21 is WorldDetect; heads that can be converted are Detect, Segment, Pose, OBB, Classify",
    ),
    "an unknown head": (
        lambda model, make: replace(model, "model.21", with_place(make("modules.head.Depth"))),
        "layer 21 is Depth; a YOLO12 model has Detect there",
    ),
    "two of a name": (
        lambda model, make: model.names.update({2: "class 0"}),
        "classes 0 and 2 are both named 'class 0'",
    ),
    "names with a gap": (lambda model, make: model.names.update({5: "x"}), r"not numbered 0\.\.3"),
    "a nameless class": (lambda model, make: model.names.update({1: " "}), "class 1 has no name"),
    "another count of classes": (
        lambda model, make: model.names.update({3: "x"}),
        "names 4 classes, .* is for 3",
    ),
}


def whole_numbers(count: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(count, dtype=torch.int32), requires_grad=False)


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    outer: list[Any] = []
    for _ in range(depth):
        outer = [outer]
    return outer


def with_place(layer: Any) -> Any:
    layer.f = -1
    return layer


@pytest.mark.parametrize("case", REFUSED_YOLO12)
def test_a_model_that_computes_something_else_is_refused_by_name(case, tmp_path):
    alter, said = REFUSED_YOLO12[case]
    with foreign_classes() as make:
        model = foreign_model(make)
        alter(model, make)
        save(tmp_path / "foreign.pt", model)
    with pytest.raises(CheckpointError, match=rf"foreign\.pt: .*{said}"):
        read_foreign(tmp_path / "foreign.pt")


@pytest.mark.parametrize(
    ("place", "part", "said"),
    [
        pytest.param(
            "1", nn.GroupNorm(8, 256), r"conv\.1 is GroupNorm; expected BatchNorm2d", id="group norm"
        ),
        pytest.param("2", nn.ReLU(), r"conv\.2 is ReLU; only SiLU", id="activation"),
        pytest.param(
            "5", nn.Conv2d(1, 1, 1), r"conv\.5\.(weight|bias) .* is one too many", id="one layer more"
        ),
    ],
)
def test_an_expert_that_is_made_otherwise_is_refused(place, part, said, tmp_path):
    check_mixture_refused(
        tmp_path,
        lambda layer, make: setattr(layer.experts[1].conv, place, part),
        rf"model\.5\.experts\.1\.{said}",
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"add_residual": True}, "add_residual=True computes something else", id="residual"),
        pytest.param({"router_type": "local"}, "router_type='local'", id="router"),
        pytest.param({"num_experts": 5}, "declares 5 experts and has 4", id="count"),
        pytest.param({"top_k": 9}, r"top_k=9; with 4 experts it must be 1\.\.4", id="too many run"),
    ],
)
def test_a_mixture_that_works_otherwise_is_refused(settings, said, tmp_path):
    def alter(layer: Any, make: Any) -> None:
        for name, value in settings.items():
            setattr(layer, name, value)

    check_mixture_refused(tmp_path, alter, said)


def test_more_experts_than_any_model_has_are_refused(tmp_path):
    check_mixture_refused(
        tmp_path,
        lambda layer, make: layer.experts.extend(nn.Identity() for _ in range(61)),
        "OptimizedMOEImproved has 65 experts; 64 is the limit",
    )


def test_an_unknown_mixture_is_named_with_what_was_expected(tmp_path):
    with foreign_classes() as make:
        model = foreign_model(make, mixture=SPATIAL)
        replace(model, "model.5", with_place(make("modules.moe.modules.HyperSplitMoE")))
        save(tmp_path / "foreign.pt", model)
    said = "layer 5 is HyperSplitMoE; .* a YOLO-Master v0.1 model has OptimizedMOEImproved there"
    with pytest.raises(CheckpointError, match=said):
        read_foreign(tmp_path / "foreign.pt")


def check_mixture_refused(folder: Path, alter: Any, said: str) -> None:
    with foreign_classes() as make:
        model = foreign_model(make, mixture=SPATIAL)
        alter(model.model[5], make)
        save(folder / "foreign.pt", model)
    with pytest.raises(CheckpointError, match=said):
        read_foreign(folder / "foreign.pt")


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        pytest.param({"model.0.conv.weight": torch.zeros(1)}, "weights without the model", id="state dict"),
        pytest.param({"model": None, "ema": None}, "weights without the model", id="nothing kept"),
        pytest.param([torch.zeros(1)], "holds a list, not a dict", id="list"),
        pytest.param({"model": nn.Linear(1, 1)}, "Linear has no list of layers", id="another module"),
        pytest.param(
            {"model": nn.Sequential(nn.ReLU())}, "Sequential has no list of layers", id="another net"
        ),
    ],
)
def test_a_file_without_a_detector_is_refused_with_what_is_needed(saved, said, tmp_path):
    torch.save(saved, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=rf"other\.pt: .*{said}"):
        read_foreign(tmp_path / "other.pt")

"""Builds checkpoints in the formats of YOLO12 and YOLO-Master, only from their published layer lists.

Every class here has the name of a foreign class. It holds weights and settings, and computes nothing.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

Make = Callable[..., Any]  # from a class path inside the package and attributes to an empty module

WIDTHS = {"n": (16, 32, 64, 128, 256), "s": (32, 64, 128, 256, 512)}  # of 64, 128, 256, 512 and 1024
WIDTHS |= {"m": (64, 128, 256, 512, 512), "l": (64, 128, 256, 512, 512), "x": (96, 192, 384, 768, 768)}


@dataclass(frozen=True)
class Mixture:
    """Settings of a model's mixture layers."""

    module: str = "moe"  # the module of the mixture classes, which differs between releases
    kind: str = "ES_MOE"
    experts: tuple[int, ...] = (3, 3, 3, 3)
    settings: tuple[tuple[str, Any], ...] = (("top_k", None),)


RELEASED = Mixture()
TOP_TWO = Mixture("moe.modules", experts=(4,) * 4, settings=(("top_k", 2), ("use_top_k", True)))
SPATIAL = Mixture(
    "moe.modules",
    "OptimizedMOEImproved",
    (4, 8, 16),
    (("top_k", 2), ("router_type", "efficient"), ("expert_type", "simple")),
)


@contextmanager
def foreign_classes() -> Iterator[Make]:
    """Yield a function that makes objects of empty foreign classes, which exist only inside the block."""
    made: dict[str, ModuleType] = {}

    def make(path: str, **attributes: Any) -> Any:
        module_name, _, name = f"ultralytics.nn.{path}".rpartition(".")
        parts = module_name.split(".")
        for package in (".".join(parts[: index + 1]) for index in range(len(parts))):
            made.setdefault(package, ModuleType(package))
            sys.modules[package] = made[package]  # with all parent packages, because pickle imports the class
        module = made[module_name]
        if not hasattr(module, name):
            setattr(module, name, type(name, (nn.Module,), {"__module__": module_name}))
        shell = getattr(module, name)()
        for key, value in attributes.items():
            setattr(shell, key, value)
        return shell

    try:
        yield make
    finally:
        for name in made:
            del sys.modules[name]


def norm(channels: int) -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
    for tensor in (bn.weight, bn.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    for tensor in (bn.bias, bn.running_mean):
        nn.init.normal_(tensor, std=0.2)
    return bn


def bare(c_out: int, c_in: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)


class Shells:
    """Blocks that all families share; channel numbers are (out, in)."""

    def __init__(self, make: Make, size: str = "n") -> None:
        self.make = make
        self.widths = WIDTHS[size]
        self.large = size in ("l", "x")
        self.deep = size in ("m", "l", "x")

    def conv(self, c_out: int, c_in: int, kernel: int = 1, stride: int = 1, *, act: bool = True) -> Any:
        return self.make(
            "modules.conv.Conv",
            conv=bare(c_out, c_in, kernel, stride),
            bn=norm(c_out),
            act=nn.SiLU() if act else nn.Identity(),
        )

    def depthwise(self, channels: int, kernel: int, kind: str = "DWConv", *, act: bool = True) -> Any:
        return self.make(
            f"modules.conv.{kind}",
            conv=bare(channels, channels, kernel, groups=channels),
            bn=norm(channels),
            act=nn.SiLU() if act else nn.Identity(),
        )

    def bottleneck(self, channels: int, hidden: int) -> Any:
        first, second = self.conv(hidden, channels, 3), self.conv(channels, hidden, 3)
        return self.make("modules.block.Bottleneck", cv1=first, cv2=second, add=True)

    def c3k(self, channels: int) -> Any:
        half = channels // 2
        return self.make(
            "modules.block.C3k",
            cv1=self.conv(half, channels),
            cv2=self.conv(half, channels),
            cv3=self.conv(channels, 2 * half),
            m=nn.Sequential(*(self.bottleneck(half, half) for _ in range(2))),
        )

    def c3k2(self, c_out: int, c_in: int, *, ratio: float = 0.5, deep: bool = False) -> Any:
        hidden, repeats = int(c_out * ratio), 2 if self.large else 1
        deep = deep or self.deep
        blocks = [self.c3k(hidden) if deep else self.bottleneck(hidden, hidden // 2) for _ in range(repeats)]
        return self.make(
            "modules.block.C3k2",
            cv1=self.conv(2 * hidden, c_in),
            cv2=self.conv(c_out, (2 + repeats) * hidden),
            m=nn.ModuleList(blocks),
            c=hidden,
        )

    def a2c2f(self, c_out: int, c_in: int, area: int | None) -> Any:
        hidden = c_out // 2
        repeats = (2 if self.large else 1) * (1 if area is None else 2)
        blocks = [
            self.c3k(hidden)
            if area is None
            else nn.Sequential(*(self.attention(hidden, area) for _ in range(2)))
            for _ in range(repeats)
        ]
        scaled = self.large and area is not None
        return self.make(
            "modules.block.A2C2f",
            cv1=self.conv(hidden, c_in),
            cv2=self.conv(c_out, (1 + repeats) * hidden),
            m=nn.ModuleList(blocks),
            gamma=nn.Parameter(torch.rand(c_out)) if scaled else None,
        )

    def attention(self, channels: int, area: int) -> Any:
        hidden = int(channels * (1.2 if self.large else 2.0))
        attention = self.make(
            "modules.block.AAttn",
            area=area,
            num_heads=channels // 32,
            head_dim=32,
            qkv=self.conv(3 * channels, channels, act=False),
            proj=self.conv(channels, channels, act=False),
            pe=self.depthwise(channels, 7, "Conv", act=False),
        )
        mlp = nn.Sequential(self.conv(hidden, channels), self.conv(channels, hidden, act=False))
        return self.make("modules.block.ABlock", attn=attention, mlp=mlp)

    def detect(self, channels: tuple[int, int, int], classes: int) -> Any:
        width = max(channels[0], min(classes, 100))
        boxes_width = max(64, channels[0] // 4)
        boxes, scores = nn.ModuleList(), nn.ModuleList()
        for c in channels:
            boxes.append(
                nn.Sequential(
                    self.conv(boxes_width, c, 3),
                    self.conv(boxes_width, boxes_width, 3),
                    nn.Conv2d(boxes_width, 64, 1),
                )
            )
            scores.append(
                nn.Sequential(
                    nn.Sequential(self.depthwise(c, 3), self.conv(width, c)),
                    nn.Sequential(self.depthwise(width, 3), self.conv(width, width)),
                    nn.Conv2d(width, classes, 1),
                )
            )
        bins = nn.Conv2d(16, 1, 1, bias=False).requires_grad_(False)
        bins.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)
        return self.make(
            "modules.head.Detect",
            nc=classes,
            reg_max=16,
            stride=torch.tensor([8.0, 16.0, 32.0]),
            cv2=boxes,
            cv3=scores,
            dfl=self.make("modules.block.DFL", conv=bins),
        )

    def es_moe(self, channels: int, experts: int, how: Mixture) -> Any:
        hidden = max(channels // 8, 8)
        network = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, experts, 1))
        chosen = [
            self.make(
                f"modules.{how.module}.EfficientExpertGroup",
                conv=self.make(
                    f"modules.{how.module}.DepthwiseSeparableConv",
                    depthwise=bare(channels, channels, 3 + 2 * index, groups=channels),
                    pointwise=bare(channels, channels),
                    bn=norm(channels),
                    act=nn.SiLU(),
                ),
            )
            for index in range(experts)
        ]
        return self.make(
            f"modules.{how.module}.ES_MOE",
            routing=self.make(f"modules.{how.module}.DynamicRoutingLayer", routing_network=network),
            experts=nn.ModuleList(chosen),
            norm=nn.Sequential(norm(channels), nn.SiLU()),
            num_experts=experts,
            **dict(how.settings),
        )

    def spatial_moe(self, channels: int, experts: int, how: Mixture) -> Any:
        hidden = max(channels // 8, 8)
        router = nn.Sequential(
            bare(hidden, channels, 3), norm(hidden), nn.SiLU(), bare(experts, hidden), norm(experts)
        )
        chosen = []
        for _ in range(experts):
            wide = (bare(2 * channels, channels), norm(2 * channels), nn.SiLU())
            layers = nn.Sequential(*wide, bare(channels, 2 * channels), norm(channels))
            chosen.append(self.make(f"modules.{how.module}.SimpleExpert", conv=layers))
        return self.make(
            f"modules.{how.module}.{how.kind}",
            routing=self.make("modules.moe.routers.EfficientSpatialRouter", router=router, pool_scale=4),
            experts=nn.ModuleList(chosen),
            shared_expert=nn.Sequential(bare(channels, channels), norm(channels), nn.SiLU()),
            num_experts=experts,
            **dict(how.settings),
        )


def layer_list(make: Make, size: str, classes: int, mixture: Mixture | None) -> list[tuple[Any, Any]]:
    """Return every layer with the indices of its input layers, in the order of the file."""
    shells = Shells(make, size)
    c64, c128, c256, c512, c1024 = shells.widths
    wide = c1024 if mixture is None else c512
    layers: list[tuple[Any, Any]] = [(shells.conv(c64, 3, 3, 2), -1)]
    counts = iter(mixture.experts if mixture else ())
    taps = []
    stages = (
        (shells.conv(c128, c64, 3, 2), shells.c3k2(c256, c128, ratio=0.25)),
        (shells.conv(c256, c256, 3, 2), shells.c3k2(c512, c256, ratio=0.25)),
        (shells.conv(c512, c512, 3, 2), shells.a2c2f(c512, c512, 4)),
        (shells.conv(c1024, c512, 3, 2), shells.a2c2f(c1024, c1024, 1)),
    )
    for index, (stage, channels) in enumerate(zip(stages, (c256, c512, c512, c1024), strict=True)):
        layers += [(part, -1) for part in stage]
        if mixture and mixture.kind == "ES_MOE":
            layers.append((shells.es_moe(channels, next(counts), mixture), -1))
        elif mixture and index:
            layers.append((shells.spatial_moe(channels, next(counts), mixture), -1))
        taps.append(len(layers) - 1)

    def block(c_out: int, c_in: int) -> Any:
        return shells.a2c2f(c_out, c_in, None) if mixture is None else shells.c3k2(c_out, c_in, deep=True)

    def join(source: int) -> tuple[Any, Any]:
        return make("modules.conv.Concat", d=1), [-1, source]

    up = nn.Upsample(scale_factor=2, mode="nearest"), -1
    layers += [up, join(taps[2]), (block(c512, c1024 + c512), -1)]
    mid = len(layers) - 1
    layers += [
        (nn.Upsample(scale_factor=2, mode="nearest"), -1),
        join(taps[1]),
        (block(c256, c512 + c512), -1),
    ]
    fine = len(layers) - 1
    layers += [(shells.conv(c256, c256, 3, 2), -1), join(mid), (block(c512, c256 + c512), -1)]
    mid = len(layers) - 1
    layers += [(shells.conv(c512, c512, 3, 2), -1), join(taps[3])]
    layers.append((shells.c3k2(wide, c512 + c1024, deep=True), -1))
    sources = [fine, mid, len(layers) - 1]
    layers.append((shells.detect((c256, c512, wide), classes), sources))
    return layers


def foreign_model(make: Make, size: str = "n", classes: int = 3, mixture: Mixture | None = None) -> Any:
    """Return a whole model, whose layers know their index and their input layers."""
    layers = layer_list(make, size, classes, mixture)
    for index, (layer, sources) in enumerate(layers):
        layer.i, layer.f = index, sources
    return make(
        "tasks.DetectionModel",
        model=nn.Sequential(*(layer for layer, _ in layers)),
        names={index: f"class {index}" for index in range(classes)},
        yaml={"nc": classes},
        stride=torch.tensor([8.0, 16.0, 32.0]),
    )


def save(path: Path, model: Any, **container: Any) -> Path:
    """Save a checkpoint as foreign training does: the whole model in half precision, with its settings."""
    told = {"version": "8.3.240", "date": "2026-01-02T03:04:05", "train_args": {"imgsz": 64}, "epoch": -1}
    torch.save({"model": model.half(), "ema": None, **told, **container}, path)
    return path

"""Published figures of models, each beside our model of the same architecture.

The figures are from these sources: arXiv:2502.12524 (YOLOv12) table 1; arXiv:2512.23273 (YOLO-Master) tables
2, 3, 5 and 6; the table of weights in YOLO-Master's release v26.02; an unpublished summary of a mixture
detection head; and the original models, whose parameters and operations we counted in the same way as for
our models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.models.variants import MixtureChoice

IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Named:
    """A model variant, the settings of its mixtures, and its number of classes (COCO 80, ImageNet 1000)."""

    variant: str
    choice: MixtureChoice = field(default_factory=MixtureChoice)
    classes: int = 80


@dataclass(frozen=True)
class Published:
    """A model's published parameters and GFLOPs, and our note on why our own figures differ from them."""

    source: str
    of: Named
    parameters: float
    gflops: float | None = None  # None: the source does not state them
    note: str = ""  # why ours differs by more than 1 % of parameters or 2 % of GFLOPs


def _of(variant: str, classes: int = 80, **choice: Any) -> Named:
    return Named(variant=variant, choice=MixtureChoice(**choice), classes=classes)


def _released(size: str) -> Named:
    """Return ES-MoE with the settings of its released weights: each layer has three experts, and all run."""
    return _of(f"esmoe-{size}", num_experts=3, top_k=3)


def _voc(**choice: Any) -> Named:
    """Return esmoe-n with the 20 classes of PASCAL VOC, as in the paper's ablations."""
    return _of("esmoe-n", classes=20, **choice)


_THREE = "The text says four experts, two of them chosen; the figures are those of three, all computed."
_BASELINE = (
    "The baseline. With VOC's 20 classes it has 2.57 M and with 80 it has 2.60 M, in the original and here; "
    "the table does not say what makes 2.63 M."
)
_BACKBONE = "The figure is that of three experts, as released; table 6 has 2.76 M for this row's four."
_BOTH = (
    "No number of experts gives this figure: seven layers of two have 2.63 M, of three 2.81 M, of four "
    "3.02 M. Table 6 has the same 2.76 M for four experts in the backbone alone."
)
_FOUR = (
    "Table 5 has 2.66 M for the same model. The rows for two and for eight experts agree with ours, "
    "and an expert's size follows from its kernel: four make 2.82 M."
)
_RELEASED_M = "Operations agree, parameters cannot: the original has 23.91 M, as ours."
_MODULAR = (
    "Parameters agree. The release does not say how it counts operations: the two experts of a layer and the "
    "shared one that run for an image, and all the rest, add up to ours, in the original and here."
)
_HEAD = (
    "The notes' own figures do not add up: four heads of 40 % are 1.6 whole ones, which makes 2.9 M "
    "and 7.6 GFLOPs beside routers; even four whole heads would make 4.0 M and 12.1."
)

# By source: the model of ours, published parameters, GFLOPs and our note.
_LINES: Mapping[str, Sequence[tuple[Any, ...]]] = {
    "original": (
        (_of("yolov12-n"), 2_602_288, 6.49),
        (_of("yolov12-s"), 9_284_096, 21.4),
        (_of("yolov12-m"), 20_199_168, 67.5),
        (_of("yolov12-l"), 26_450_784, 88.9),
        (_of("yolov12-x"), 59_210_784, 199.0),
        (_of("yolov12-n-seg"), 2_855_040, 9.9),
        (_of("yolov12-s-seg"), 9_938_576, 33.4),
        (_of("yolov12-m-seg"), 22_505_360),
        (_of("yolov12-l-seg"), 28_756_976),
        (_of("yolov12-x-seg"), 64_387_248),
        (_of("yolov12-n-pose"), 2_886_699),
        (_of("yolov12-s-pose"), 9_774_139),
        (_of("yolov12-m-pose"), 21_057_737),
        (_of("yolov12-l-pose"), 27_309_353),
        (_of("yolov12-x-pose"), 61_134_473),
        (_of("yolov12-n-obb"), 2_673_939),
        (_of("yolov12-s-obb"), 9_570_259),
        (_of("yolov12-m-obb"), 21_047_987),
        (_of("yolov12-l-obb"), 27_299_603),
        (_of("yolov12-x-obb"), 61_119_923),
        (_of("esmoe-n"), 2_844_648),
        (_released("n"), 2_694_364, 8.55),
        (_released("s"), 9_706_828, 28.8),
        (_released("m"), 23_911_564, 96.9),
        (_released("l"), 30_163_180, 118.4),
        (_released("x"), 67_439_724, 264.0),
        (_of("modular-n"), 7_546_984, 9.37),
        (_of("modular-s"), 29_151_288, 33.0),
        (_of("modular-m"), 52_207_800, 111.8),
        (_of("modular-l"), 58_459_416, 133.2),
    ),
    "YOLOv12 table 1": (
        (_of("yolov12-n"), 2.6e6, 6.5),
        (_of("yolov12-s"), 9.3e6, 21.4),
        (_of("yolov12-m"), 20.2e6, 67.5),
        (_of("yolov12-l"), 26.4e6, 88.9),
        (_of("yolov12-x"), 59.1e6, 199.0),
    ),
    "YOLO-Master table 2": ((_released("s"), 9.64e6, 28.6), (_of("esmoe-s"), 9.64e6, 28.6, _THREE)),
    # For ImageNet. The column's heading is "Size", but it holds parameters; other rows have 224 there.
    "YOLO-Master table 3": ((_of("esmoe-n-cls", classes=IMAGENET_CLASSES, num_experts=3, top_k=3), 3.38e6),),
    "YOLO-Master table 5": (
        (_of("yolov12-n", classes=20), 2.63e6, None, _BASELINE),
        # Fewer than the baseline can be right: ES-MoE's neck ends half as wide, and its network without any
        # expert has 2.29 M.
        (_voc(placement="neck"), 2.49e6),
        (_voc(num_experts=3), 2.66e6),
        (_voc(placement="backbone"), 2.66e6, None, _BACKBONE),
        (_voc(placement="both"), 2.76e6, None, _BOTH),
    ),
    "YOLO-Master table 6": (
        (_voc(num_experts=2), 2.51e6),
        (_voc(num_experts=4), 2.76e6, None, _FOUR),
        (_voc(num_experts=8), 3.68e6),
    ),
    "release v26.02": (
        (_released("n"), 2.68e6, 8.7),
        (_released("s"), 9.69e6, 29.1),
        (_released("m"), 34.88e6, 97.4, _RELEASED_M),
        (_of("modular-n"), 7.54e6, 10.1, _MODULAR),
        (_of("modular-s"), 29.15e6, 36.0, _MODULAR),
        (_of("modular-m"), 52.17e6, 116.7, _MODULAR),
        (_of("modular-l"), 58.41e6, 138.1, _MODULAR),
    ),
    "notes on the head": ((_of("moehead-n"), 6e6, 18.0, _HEAD),),
}
PUBLISHED = tuple(Published(source, *line) for source, lines in _LINES.items() for line in lines)

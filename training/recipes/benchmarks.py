"""The data of YOLO-Master's five benchmarks (arXiv:2512.23273, section 4.1), as `download` stores them.

All five are trained in the same way, at 640×640: see `benchmark` in recipes.py. Only their data differ. The
paper gives the numbers of images and classes, but does not say which split it evaluates on.
"""

from dataclasses import replace
from pathlib import Path

from training.data_config import CombinedConfig, FolderConfig
from training.recipes.splits import Splits

BENCHMARK_RECIPES = ("coco", "voc", "visdrone", "kitti", "sku110k")

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")  # the classes that KITTI's own benchmark evaluates


def coco_data(root: Path) -> Splits:
    """Return the splits of COCO: 118k training and 5k validation images, 80 classes."""
    return Splits(_folder(root, "train2017"), _folder(root, "val2017"))


def voc_data(root: Path) -> Splits:
    """Return the splits of VOC, 20 classes: 16.5k training images of 2007 and 2012, and 2007's test set."""
    years = [root / "VOCdevkit" / year for year in ("VOC2007", "VOC2012")]
    return Splits(
        CombinedConfig(
            parts=tuple(_folder(year, "trainval", VOC_CLASSES) for year in years), shared_classes=True
        ),
        _folder(years[0], "test", VOC_CLASSES),
    )


def visdrone_data(root: Path) -> Splits:
    """Return the splits of VisDrone: 6.5k training and 548 validation images, 10 classes."""
    return Splits(_folder(root, "train"), _folder(root, "val"))


def kitti_data(root: Path) -> Splits:
    """Return the splits of KITTI: 7.5k labelled images of 3 classes.

    The lists in `ImageSets/` define the splits; without them, every fifth image is for validation. Then
    frames that are neighbours in time can be in both splits. Metrics of different splits are not exactly
    comparable, and the paper does not name its split. Vans and sitting persons are regions to ignore, as in
    KITTI's own evaluation; its limits on size, occlusion and truncation are not applied.
    """
    train = replace(_folder(root, "train"), kept_classes=KITTI_CLASSES)
    return Splits(train, replace(train, split="val"))


def sku110k_data(root: Path) -> Splits:
    """Return the splits of SKU-110K: 8.2k training and 588 validation images, 1 class; test is not used."""
    return Splits(_folder(root / "SKU110K_fixed", "train"), _folder(root / "SKU110K_fixed", "val"))


def _folder(root: Path, split: str, class_names: tuple[str, ...] = ()) -> FolderConfig:
    return FolderConfig(root=str(root.resolve()), split=split, class_names=class_names)

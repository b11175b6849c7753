"""The five benchmarks of YOLO-Master (arXiv:2512.23273, section 4.1), as `download` leaves them in a folder.

All five are trained alike, at 640×640: see `benchmark` in recipes.py. They differ in their data alone, of
which the paper names numbers of images and classes; what it measures on it does not say.
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
KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")  # those that KITTI's own benchmark counts


def coco_data(root: Path) -> Splits:
    """Return 118k images of 80 classes to train, 5k to validate."""
    return Splits(_folder(root, "train2017"), _folder(root, "val2017"))


def voc_data(root: Path) -> Splits:
    """Return 16.5k images of 20 classes: 2007 and 2012 to train, of the test of 2007 to measure."""
    years = [root / "VOCdevkit" / year for year in ("VOC2007", "VOC2012")]
    return Splits(
        CombinedConfig(
            parts=tuple(_folder(year, "trainval", VOC_CLASSES) for year in years), shared_classes=True
        ),
        _folder(years[0], "test", VOC_CLASSES),
    )


def visdrone_data(root: Path) -> Splits:
    """Return 6.5k images of 10 classes to train, 548 to validate."""
    return Splits(_folder(root, "train"), _folder(root, "val"))


def kitti_data(root: Path) -> Splits:
    """Return 7.5k labelled images of 3 classes, parted by lists in `ImageSets/`, or every fifth.

    Every fifth means that neighbours in time can stand on both sides. Figures of another split do not compare
    to the digit, and the paper does not name its own. Vans and sitting persons are regions to ignore, as in
    KITTI's own evaluation; its limits of size, occlusion and truncation are not applied.
    """
    train = replace(_folder(root, "train"), kept_classes=KITTI_CLASSES)
    return Splits(train, replace(train, split="val"))


def sku110k_data(root: Path) -> Splits:
    """Return 8.2k images of 1 class to train, 588 to validate; the test split is left alone."""
    return Splits(_folder(root / "SKU110K_fixed", "train"), _folder(root / "SKU110K_fixed", "val"))


def _folder(root: Path, split: str, class_names: tuple[str, ...] = ()) -> FolderConfig:
    return FolderConfig(root=str(root.resolve()), split=split, class_names=class_names)

"""The command `python -m training look`: draw training samples with their labels and ignored regions."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import MASK_STRIDE, PAD_VALUE, TrainConfig
from training.data.augmentation.shapes import Shapes
from training.data.images.letterbox import letterbox_image, scale_image, scale_sample
from training.data.loading.batch import Batch, BoxBatch, ClassBatch, OrientedBatch, PoseBatch, SegmentBatch
from training.data.loading.loader import TrainingLoader
from training.data.masks import Mask
from training.data.sample import Dataset, Sample, no_boxes
from training.errors import ConfigError
from training.files import write_atomically
from training.predict.draw import encode
from training.predict.shapes import Colour, class_colour, draw_corners, draw_keypoints, draw_mask
from training.tasks.choose import task_named
from training.workflows.dataset_config import log_remarks
from training.workflows.preflight import look_at
from training.workflows.train import TrainOptions, training_config

log = logging.getLogger(__name__)

Edge = tuple[int, int]  # two keypoints that a line connects

COLUMNS = 4
TILE_PX = 320  # the longer side of a sample
GAP_PX = 6
NAMED_PX = 24  # narrower boxes get no class name, which would hide them
HATCH_PX = 8  # distance of the diagonal lines in an ignored region
LEGEND_PX = 24
LEGEND = "hatched: ignored in training"
SUFFIXES = (".png", ".jpg", ".jpeg")


def look(options: TrainOptions, output: Path, *, epoch: int = 1, images: int = 16) -> int:
    """Draw the first samples of an epoch into one image file; return the number of samples.

    Args:
        options: the options of `train`; run_dir and weights are ignored.
        output: a .png or .jpg file; an existing file is replaced.
        epoch: number of the epoch, counted from 1.
        images: largest number of samples to draw.

    Raises:
        ConfigError: the run has no such epoch, or the suffix of output is not that of an image.
        DatasetError: the data cannot be read.
        OSError: the file cannot be written.
    """
    check_suffix(output)
    config, dataset = training_config(options)
    log_remarks("training labels", dataset)
    if not 1 <= epoch <= config.epochs:
        raise ConfigError(f"this run has epochs 1..{config.epochs}, not {epoch}")
    found = look_at(config, dataset)
    for sentence in found.odd:
        log.info(sentence)
    for problem in found.problems:
        log.warning(problem)
    shown = training_samples(dataset, config, epoch - 1, images)
    write_sheet(shown, dataset.class_names, output, edges_of(dataset))
    return len(shown)


def check_suffix(output: Path) -> None:
    """Raise ConfigError if the suffix of an output file is not that of an image."""
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{output}: images are written as {', '.join(SUFFIXES)}")


def write_sheet(
    samples: Sequence[Sample], class_names: Sequence[str], output: Path, edges: Sequence[Edge] = ()
) -> None:
    """Write the drawing that contact_sheet makes of samples to an image file; replace an existing file."""
    write_atomically(output, encode(contact_sheet(samples, class_names, edges), output.suffix.lower()))


def edges_of(dataset: Dataset) -> tuple[Edge, ...]:
    """Return the pairs of keypoints that a drawing connects by lines; () if the data set has no skeleton."""
    return dataset.skeleton.edges if dataset.skeleton else ()


def letterboxed(sample: Sample, input_hw: tuple[int, int]) -> Sample:
    """Return a sample and its labels at the size of the model input, without augmentation."""
    scaled = scale_sample(sample, input_hw)
    image, placed = letterbox_image(scaled.image, input_hw)
    offset = np.array([placed.left, placed.top] * 2, dtype=np.float32)
    boxes, ignored = scaled.boxes_xyxy + offset, scaled.ignored_xyxy + offset
    shapes = Shapes.of(scaled).moved((placed.left, placed.top))._asdict()
    return replace(scaled, image=image, boxes_xyxy=boxes, ignored_xyxy=ignored, **shapes)


def training_samples(dataset: Dataset, config: TrainConfig, epoch: int, count: int) -> list[Sample]:
    """Return the first `count` samples of an epoch, augmented as in training; the first epoch is 0.

    Raises:
        DatasetError: an image cannot be loaded.
    """
    shown: list[Sample] = []
    # A sample depends on its place in the epoch, not on the batch size. With batches of two, at most one
    # sample too many is made. There is no cache, because each sample is used once.
    pairs = replace(config, batch_size=2, accumulate=1, loader_workers=0)
    with TrainingLoader(dataset, pairs, task_named(config.model.task), cache_bytes=0) as loader:
        for batch in islice(loader.epoch(epoch), -(-count // 2)):
            shown += [batch_sample(batch, place) for place in range(len(batch.images))]
    return shown[:count]


def batch_sample(batch: Batch, place: int) -> Sample:
    """Return one image of a batch as a sample, with the labels that the loss gets; the first place is 0."""
    image, name = batch.images[place].numpy(), f"sample {place}"
    match batch:
        case BoxBatch():
            mine = batch.image_ids.numpy() == place
            boxes, class_ids = batch.boxes_xyxy.numpy()[mine], batch.class_ids.numpy()[mine]
            ignored = batch.ignored_xyxy.numpy()[batch.ignored_image_ids.numpy() == place]
            return Sample(image, boxes, class_ids, name, ignored, **_shapes_of(batch, mine))
        case ClassBatch():
            whole = int(batch.class_ids[place])
            return Sample(image, no_boxes(), np.zeros(0, np.int64), name, image_class=whole)
        case _:
            raise TypeError(f"no samples can be drawn of a {type(batch).__name__}")


def _shapes_of(batch: BoxBatch, mine: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the shapes of the objects that `mine` selects from a batch, as fields of Sample.

    Masks have the coarse resolution that the loss uses: squares of MASK_STRIDE × MASK_STRIDE pixels.
    """
    match batch:
        case SegmentBatch():
            square = np.ones((MASK_STRIDE, MASK_STRIDE), dtype=np.bool_)
            return {"masks": tuple(Mask.of(np.kron(cells, square)) for cells in batch.masks.numpy()[mine])}
        case PoseBatch():
            return {"keypoints": batch.keypoints.numpy()[mine]}
        case OrientedBatch():
            return {"corners": batch.corners.numpy()[mine]}
        case _:
            return {}


def contact_sheet(
    samples: Sequence[Sample], class_names: Sequence[str], edges: Sequence[Edge] = ()
) -> NDArray[np.uint8]:
    """Return one RGB image (H, W, 3) that shows samples of the same size in rows of COLUMNS.

    There must be at least one sample. A visible keypoint is drawn as a dot, and a hidden one as a ring.
    `edges` are the pairs of keypoints that lines connect. If a sample has ignored regions, a legend at the
    bottom explains their hatching.
    """
    tiles = [_tile(sample, class_names, edges) for sample in samples]
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full(
        (rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX, 3), 255, np.uint8
    )
    for index, tile in enumerate(tiles):
        top = GAP_PX + index // columns * (height + GAP_PX)
        left = GAP_PX + index % columns * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    if any(len(sample.ignored_xyxy) for sample in samples):
        sheet = np.concatenate([sheet, _legend(sheet.shape[1])])
    return sheet


def _legend(width: int) -> NDArray[np.uint8]:
    legend = np.full((LEGEND_PX, width, 3), 255, np.uint8)
    legend[2 : LEGEND_PX - GAP_PX, GAP_PX : GAP_PX + 2 * LEGEND_PX] = PAD_VALUE
    _hatch(legend, (GAP_PX, 2, GAP_PX + 2 * LEGEND_PX, LEGEND_PX - GAP_PX))
    where = (2 * GAP_PX + 2 * LEGEND_PX, LEGEND_PX - 10)
    cv2.putText(legend, LEGEND, where, cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 0))
    return legend


def _tile(sample: Sample, class_names: Sequence[str], edges: Sequence[Edge]) -> NDArray[np.uint8]:
    scale = TILE_PX / max(sample.image.shape[:2])
    tile = scale_image(sample.image, scale).copy()
    for region in np.rint(sample.ignored_xyxy * scale).astype(int).tolist():
        _hatch(tile, region)
    colours = [class_colour(class_id) for class_id in sample.class_ids.tolist()]
    _shapes(tile, sample, colours, edges)
    boxes = np.rint(sample.boxes_xyxy * scale).astype(int).tolist()
    for (x1, y1, x2, y2), class_id, colour in zip(boxes, sample.class_ids, colours, strict=True):
        if sample.corners is None:  # an oriented box is drawn instead
            cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
        if x2 - x1 >= NAMED_PX:
            cv2.putText(tile, class_names[class_id], (x1 + 1, y1 + 9), cv2.FONT_HERSHEY_SIMPLEX, 0.33, colour)
    if sample.image_class is not None:
        colour = class_colour(sample.image_class)
        cv2.putText(tile, class_names[sample.image_class], (3, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1)
    return tile


def _shapes(
    tile: NDArray[np.uint8], sample: Sample, colours: Sequence[Colour], edges: Sequence[Edge]
) -> None:
    """Draw the masks, keypoints and oriented boxes that a sample has into its scaled image."""
    scale = TILE_PX / max(sample.image.shape[:2])
    source_hw = (sample.image.shape[0], sample.image.shape[1])
    for mask, colour in zip(sample.masks or (), colours, strict=False):
        whole = cv2.resize(
            mask.on(source_hw).astype(np.uint8), tile.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        draw_mask(tile, Mask(0, 0, whole > 0), colour, 1)
    if sample.keypoints is not None:
        for points, colour in zip(sample.keypoints, colours, strict=True):
            draw_keypoints(tile, points * np.array([scale, scale, 1]), edges, colour, scale=0.5)
    if sample.corners is not None:
        for corners, colour in zip(sample.corners, colours, strict=True):
            draw_corners(tile, corners * scale, colour, 1)


def _hatch(image: NDArray[np.uint8], window: Sequence[int]) -> None:
    """Mark a region with a white frame and diagonal lines.

    Each white diagonal has a black one beside it, so that the lines are visible on any image.
    """
    x1, y1, x2, y2 = window
    part = image[y1:y2, x1:x2]
    diagonal = np.add.outer(np.arange(y1, y2), np.arange(x1, x2)) % HATCH_PX  # (h, w)
    part[diagonal == 0] = 255
    part[diagonal == 1] = 0
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), (255, 255, 255), 1)

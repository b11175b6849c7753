"""Export kept images to the format of a label tool."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from service.errors import ExportRefused
from service.novel.coco import IMAGES as COCO_IMAGES
from service.novel.coco import write_coco
from service.novel.folder import read_records
from service.novel.label_studio import IMAGES as STUDIO_IMAGES
from service.novel.label_studio import write_label_studio
from service.novel.record import Record

ExportFormat = Literal["coco", "label-studio"]


def export(
    source: Path, output: Path, to: ExportFormat, *, model: str | None, most: int | None, prefix: str
) -> int:
    """Copy kept images into a new folder, with the model's predictions as proposals; return their number.

    The service may run meanwhile: an image that it drops during the export is left out.

    Args:
        source: the folder of the service.
        output: a folder that does not exist yet, or is empty.
        to: the format.
        model: the model whose images are exported; may be None if there is only one.
        most: the number of images, the most novel first; None for all.
        prefix: for Label Studio; see write_label_studio.

    Raises:
        ExportRefused: there are no images, or several models, or the output is in use.
        OSError: a file cannot be read or written.
    """
    check_folder(source)
    if output.exists() and any(output.iterdir()):
        raise ExportRefused(f"{output} is not empty; give a new folder")
    records = _chosen(read_records(source), source, model)
    records = sorted(records, key=lambda record: (-record.score, record.id))[:most]
    images = output / (COCO_IMAGES if to == "coco" else STUDIO_IMAGES)
    images.mkdir(parents=True)
    copied = [record for record in records if _copy(source, images, record)]
    class_names = list(dict.fromkeys(name for record in copied for name in record.class_names))
    match to:
        case "coco":
            write_coco(output, copied, class_names)
        case "label-studio":
            write_label_studio(output, copied, class_names, prefix)
    return len(copied)


def check_folder(folder: Path) -> None:
    """Raise ExportRefused if there is no such folder of kept images."""
    if not folder.is_dir():
        raise ExportRefused(f"there is no folder {folder}; give that of SPARSIGHT_NOVEL__FOLDER")


def _chosen(records: Sequence[Record], source: Path, model: str | None) -> Sequence[Record]:
    """Return the records of one model and one task."""
    names = sorted({record.model for record in records})
    if model is not None and model not in names:
        raise ExportRefused(
            f"{source} has no images of model {model!r}; there are {', '.join(names) or 'none'}"
        )
    if not names:
        raise ExportRefused(f"{source} has no images")
    if model is None and len(names) > 1:
        raise ExportRefused(f"{source} has images of {', '.join(names)}; choose one with --model")
    chosen = [record for record in records if record.model == (model or names[0])]
    newest = max(chosen, key=lambda record: record.hour)
    return [record for record in chosen if record.task == newest.task]


def _copy(source: Path, images: Path, record: Record) -> bool:
    name = f"{record.id}.jpg"
    try:
        shutil.copyfile(source / name, images / name)
    except FileNotFoundError:
        return False
    return True

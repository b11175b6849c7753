"""Draw the charts of an inspection: either all of them or none.

The charts are drawn in a temporary folder, and then moved together.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from training.errors import ConfigError
from training.evaluate.expert_use import LayerUse
from training.lab.inspection.command import Inspection, require_layer
from training.lab.inspection.paths import draw_choices, draw_table
from training.lab.inspection.sets import draw_examples, draw_sets
from training.lab.inspection.spent import draw_spent
from training.lab.inspection.use import class_rows, draw_use, group_rows, size_rows


def require_folder(folder: Path) -> None:
    """Raise ConfigError if charts cannot be written into `folder`."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is a file; name a folder")
    if not folder.resolve().parent.is_dir():
        raise ConfigError(f"no folder {folder.parent} to make {folder.name} in")


def telling_layer(uses: Sequence[LayerUse]) -> str:
    """Return the name of the layer whose routing carries the most information about the image.

    A layer that ran the same set of experts for all images is returned only if all layers did so.
    """
    return max(uses, key=lambda use: (use.distinct_sets > 1, use.information_bits)).layer


def draw_charts(inspection: Inspection, folder: Path, layer: str | None = None) -> list[Path]:
    """Draw every chart into a folder, and return the files; a file of the same name is replaced.

    Args:
        layer: name of a mixture layer. The example images are grouped by the experts that ran in this layer.
            None: the layer that telling_layer returns.

    Raises:
        ConfigError: there is no such layer; nothing was drawn.
        DatasetError: an image cannot be loaded; nothing was drawn.
    """
    uses = [each.use for each in inspection.report.layers]
    require_layer(layer, [use.layer for use in uses])
    folder = folder.resolve()
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        for name, figure in _figures(inspection, layer or telling_layer(uses)):
            figure.savefig(beside / name)
        folder.mkdir(exist_ok=True)
        return [path.replace(folder / path.name) for path in sorted(beside.iterdir())]
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _figures(inspection: Inspection, layer: str) -> Iterator[tuple[str, Figure]]:
    routed, report = inspection.routed, inspection.report
    bits = {each.use.layer: each.use.information_bits for each in report.layers}
    if routed.boxes_per_image.any():
        classes = class_rows(routed, inspection.dataset.class_names)
        yield "experts_by_class.png", draw_use(classes, routed, bits, "class", "objects")
        yield "experts_by_size.png", draw_use(size_rows(routed), routed, bits, "size of object", "objects")
    for grouping in report.groupings:
        rows = group_rows(grouping)
        yield f"experts_by_{grouping.name}.png", draw_use(rows, routed, bits, grouping.name, "images")
        yield f"sets_by_{grouping.name}.png", draw_sets(routed, report, grouping)
    if report.path is not None:
        for grouping in report.groupings:
            yield f"paths_by_{grouping.name}.png", draw_choices(report.path, grouping)
        yield "paths.png", draw_table(report.path)
    yield "compute_by_boxes.png", draw_spent(routed, report, inspection.cost)
    yield "examples.png", draw_examples(inspection.dataset, routed, layer)

"""Store equal weights of several OpenVINO graphs in one file once, or give a graph its own file again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from training.errors import ExportError
from training.files import written_beside

WEIGHTS_FILE = "weights.bin"
# In bytes: a multiple of every element's size, and of a vector register. OpenVINO reads constants at any
# offset, and its own files have no gaps; an aligned constant can be used where it lies.
ALIGNMENT = 64


def share_weights(graphs: Sequence[Path], weights: Path) -> None:
    """Move the constants of graphs into one file, and remove the files that held them.

    Constants of equal bytes stand in the new file once. The graphs compute the same numbers as before: only
    the offsets of their constants change, and the indentation of their .xml files goes. If this fails, every
    graph that has not changed still has its own file.

    Args:
        graphs: .xml files, each with a .bin of the same name beside it.
        weights: the new file. A reader of the graphs has to name it.

    Raises:
        ExportError: a constant is not in the file of its graph.
    """
    trees = {}
    with written_beside(weights) as partial, partial.open("wb") as file:
        pool = _Pool(file)
        for graph in graphs:
            trees[graph] = _moved(graph, graph.with_suffix(".bin"), pool)
    for graph, tree in trees.items():
        with written_beside(graph) as partial:
            tree.write(partial, encoding="utf-8", xml_declaration=True)
    for graph in graphs:
        graph.with_suffix(".bin").unlink()


def write_alone(graph: Path, weights: Path, to: Path) -> None:
    """Write a copy of a graph with a file of its own that holds only its own constants.

    Args:
        graph: an .xml file.
        weights: the file with its constants, and perhaps those of other graphs.
        to: the new .xml file; a .bin of the same name is written beside it.

    Raises:
        ExportError: a constant is not in `weights`.
    """
    with to.with_suffix(".bin").open("wb") as file:
        tree = _moved(graph, weights, _Pool(file))
    tree.write(to, encoding="utf-8", xml_declaration=True)


class _Pool:
    """Writes constants into a file, each only once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0
        self._offsets: dict[bytes, int] = {}  # by sha256

    def offset_of(self, constant: bytes) -> int:
        """Return the place of a constant in the file; write it, unless it is there."""
        key = hashlib.sha256(constant).digest()
        if key not in self._offsets:
            gap = -self._end % ALIGNMENT
            self._file.write(bytes(gap) + constant)
            self._offsets[key] = self._end + gap
            self._end += gap + len(constant)
        return self._offsets[key]


def _moved(graph: Path, weights: Path, pool: _Pool) -> "ElementTree.ElementTree[ElementTree.Element]":
    """Return a graph's .xml whose constants, also those in branches, are in the pool."""
    tree, own = ElementTree.parse(graph), weights.read_bytes()
    for layer in tree.iter("layer"):
        if layer.get("type") != "Const":
            continue
        data = layer.find("data")
        assert data is not None
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        if start + size > len(own):
            raise ExportError(f"{weights} ends before the constant {layer.get('name')!r} of {graph.name}")
        data.set("offset", str(pool.offset_of(own[start : start + size])))
    for element in tree.iter():
        if element.text and not element.text.strip():
            element.text = None
        element.tail = None
    return tree

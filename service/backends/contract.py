"""Holds a graph to its manifest: the engine's ports at load, the batch of a call, the shapes of an answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.tensors import TensorRow
from service.errors import ArtifactBroken, BackendFailed


@dataclass(frozen=True)
class Port:
    """One input or output of a graph as its engine has it."""

    name: str
    dtype: str  # as in a manifest, or the engine's own word for one that a manifest does not know
    dims: tuple[int | None, ...]  # None: not fixed by the graph


def check_ports(manifest: Manifest, graph: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Refuse a graph that is not the one its manifest describes.

    Args:
        manifest: of the model.
        graph: path of the graph, to name in the error.
        inputs: of the graph.
        outputs: of the graph.

    Raises:
        ArtifactBroken: names the first tensor that differs by name, dtype or dims.
    """
    _check_side(manifest, graph, "input", inputs, manifest.inputs)
    _check_side(manifest, graph, "output", outputs, manifest.outputs)


def check_batch(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> int:
    """Return how many images a call brings.

    Raises:
        BackendFailed: the graph was not made for so many.
    """
    batch = len(inputs[manifest.images.name])
    if batch not in manifest.batch:
        allowed = ", ".join(map(str, manifest.batch))
        raise BackendFailed(f"this graph takes batches of {allowed}, not {batch}")
    return batch


def check_outputs(outputs: Mapping[str, NDArray[Any]], manifest: Manifest, batch: int, backend: str) -> None:
    """Check shapes and types against the manifest: a server can be given another graph under its name.

    Raises:
        BackendFailed: names the first output that does not fit.
    """
    for row in manifest.outputs:
        array, shape, dtype = outputs[row.name], row.shape(batch), row.numpy_dtype
        if array.shape != shape or array.dtype != dtype:
            raise BackendFailed(
                f"{backend} answered {row.name} as {array.dtype} {array.shape};"
                f" the manifest says {dtype} {shape}"
            )


def _check_side(
    manifest: Manifest, graph: str, side: str, ports: Sequence[Port], rows: Iterable[TensorRow]
) -> None:
    found = {port.name: port for port in ports}
    for row in rows:
        port = found.pop(row.name, None)
        if port is None:
            raise ArtifactBroken(f"{graph} has no {side} {row.name!r}, which its manifest names")
        if port.dtype != row.dtype or not _fits(port.dims, row, manifest.batch):
            raise ArtifactBroken(
                f"{graph}: {side} {row.name!r} is {port.dtype} [{_text(port.dims)}];"
                f" its manifest says {row.dtype} [{_text(row.dims)}] for batches of {_text(manifest.batch)}"
            )
    for name in found:
        raise ArtifactBroken(f"{graph} has an {side} {name!r} that its manifest does not name")


def _fits(dims: tuple[int | None, ...], row: TensorRow, batches: tuple[int, ...]) -> bool:
    if len(dims) != len(row.dims):
        return False
    batch, *sizes = dims
    # What the graph leaves open differs from nothing: the golden sample shows what it becomes.
    return (batch is None or batches == (batch,)) and all(
        size is None or size == wanted for size, wanted in zip(sizes, row.sizes, strict=True)
    )


def _text(dims: Iterable[int | str | None]) -> str:
    return ", ".join("?" if dim is None else str(dim) for dim in dims)

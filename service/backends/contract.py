"""Check a graph's inputs and outputs against its manifest, when the graph is loaded and in every call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.tensors import TensorRow
from service.errors import ArtifactBroken, BackendFailed


class Tensors(Protocol):
    """What the manifest says about the tensors of a graph; a manifest itself describes its only graph."""

    @property
    def inputs(self) -> Sequence[TensorRow]:
        """Return a row for each input."""
        ...

    @property
    def outputs(self) -> Sequence[TensorRow]:
        """Return a row for each output."""
        ...

    @property
    def batch(self) -> tuple[int, ...]:
        """Return the batch sizes that the graph takes."""
        ...


@dataclass(frozen=True)
class Port:
    """One input or output of a graph, as the engine describes it."""

    name: str
    dtype: str  # as in a manifest; the engine's own name if manifests have no name for it
    dims: tuple[int | None, ...]  # None: the graph does not fix this dimension


def check_ports(wanted: Tensors, graph: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Check that a graph's inputs and outputs match its manifest.

    Args:
        wanted: the tensors that the manifest gives the graph.
        graph: path of the graph, to name in the error.
        inputs: the graph's inputs, as the engine describes them.
        outputs: the graph's outputs, as the engine describes them.

    Raises:
        ArtifactBroken: a tensor differs in name, dtype or dims; the message names the first one.
    """
    _check_side(wanted, graph, "input", inputs, wanted.inputs)
    _check_side(wanted, graph, "output", outputs, wanted.outputs)


def check_batch(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of images in the inputs of a call.

    Raises:
        BackendFailed: the graph does not support a batch of this size.
    """
    batch = len(inputs[manifest.images.name])
    if batch not in manifest.batch:
        allowed = ", ".join(map(str, manifest.batch))
        raise BackendFailed(f"this graph takes batches of {allowed}, not {batch}")
    return batch


def check_outputs(outputs: Mapping[str, NDArray[Any]], wanted: Tensors, batch: int, backend: str) -> None:
    """Check the shapes and dtypes of a call's outputs against the manifest.

    This check is necessary because a server such as Triton may run a graph that the manifest does not
    describe.

    Raises:
        BackendFailed: an output has another shape or dtype; the message names the first one.
    """
    for row in wanted.outputs:
        array, shape, dtype = outputs[row.name], row.shape(batch), row.numpy_dtype
        if array.shape != shape or array.dtype != dtype:
            raise BackendFailed(
                f"{backend} answered {row.name} as {array.dtype} {array.shape};"
                f" the manifest says {dtype} {shape}"
            )


def _check_side(
    wanted: Tensors, graph: str, side: str, ports: Sequence[Port], rows: Iterable[TensorRow]
) -> None:
    found = {port.name: port for port in ports}
    for row in rows:
        port = found.pop(row.name, None)
        if port is None:
            raise ArtifactBroken(f"{graph} has no {side} {row.name!r}, which its manifest names")
        if port.dtype != row.dtype or not _fits(port.dims, row, wanted.batch):
            raise ArtifactBroken(
                f"{graph}: {side} {row.name!r} is {port.dtype} [{_text(port.dims)}];"
                f" its manifest says {row.dtype} [{_text(row.dims)}] for batches of {_text(wanted.batch)}"
            )
    for name in found:
        raise ArtifactBroken(f"{graph} has an {side} {name!r} that its manifest does not name")


def _fits(dims: tuple[int | None, ...], row: TensorRow, batches: tuple[int, ...]) -> bool:
    if len(dims) != len(row.dims):
        return False
    batch, *sizes = dims
    # A dimension that the graph leaves open matches any size; the golden sample later checks the real size.
    return (batch is None or batches == (batch,)) and all(
        size is None or size == wanted for size, wanted in zip(sizes, row.sizes, strict=True)
    )


def _text(dims: Iterable[int | str | None]) -> str:
    return ", ".join("?" if dim is None else str(dim) for dim in dims)

"""What runs an exported file to prove it before it is released, and whether the file keeps its contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training.errors import ExportError
from training.export.contract.tensors import Arrays, GraphContract, Tensor


class Runner(Protocol):
    """Answers as a graph does."""

    def run(self, inputs: Arrays) -> Arrays:
        """Return outputs by name for inputs by name."""


@dataclass(frozen=True)
class Port:
    """An input or output as the engine knows it from the file."""

    name: str
    dtype: str  # as in the manifest, or the engine's own word for what the manifest has none for
    dims: tuple[int | None, ...]  # None: open


class Engine(Runner, Protocol):
    """Runs a file as the service will."""

    machine: str  # processor and threads
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def check_ports(engine: Engine, contract: GraphContract) -> None:
    """Hold a graph's inputs and outputs against what its manifest will promise.

    Raises:
        ExportError: names the first tensor that is missing, not promised, or of another type or size.
    """
    for kind, ports, rows in (
        ("input", engine.inputs, contract.inputs),
        ("output", engine.outputs, contract.outputs),
    ):
        _check_names(kind, ports, rows)
        found = {port.name: port for port in ports}
        for row in rows:
            port = found[row.name]
            batch = contract.batch[0] if len(contract.batch) == 1 else None
            promised = (batch, *row.sizes)
            if (port.dtype, port.dims) != (row.dtype, promised):
                raise ExportError(
                    f"{kind} {row.name!r} of the exported graph is {_shown(port.dtype, port.dims)}, and "
                    f"its manifest promises {_shown(row.dtype, promised)}. Nothing was written."
                )


def _check_names(kind: str, ports: Sequence[Port], rows: Sequence[Tensor]) -> None:
    found, promised = {port.name for port in ports}, {row.name for row in rows}
    for name in sorted(promised - found):
        raise ExportError(f"the exported graph has no {kind} {name!r}, which its manifest promises")
    for name in sorted(found - promised):
        raise ExportError(f"the exported graph has an {kind} {name!r}, which its manifest does not name")


def _shown(dtype: str, dims: Sequence[int | None]) -> str:
    return f"{dtype} [{', '.join('open' if size is None else str(size) for size in dims)}]"

"""Interfaces of the engines that prove an exported file before its release."""

from typing import Protocol

from training.export.contract.tensors import Arrays


class Runner(Protocol):
    """Computes the outputs of a graph."""

    def run(self, inputs: Arrays) -> Arrays:
        """Return outputs by name for inputs by name."""


class Engine(Runner, Protocol):
    """Runs an exported file, to compare its outputs with the checkpoint's."""

    machine: str  # processor and threads

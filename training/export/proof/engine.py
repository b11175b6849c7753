"""Interfaces of the engines that run an exported file to check it before its release."""

from typing import Protocol

from training.export.contract.tensors import Arrays


class Runner(Protocol):
    """Computes the outputs of a graph."""

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once and return the outputs; inputs and outputs are by name."""


class Engine(Runner, Protocol):
    """Runs an exported file, to compare its outputs with the checkpoint's."""

    machine: str  # processor and threads

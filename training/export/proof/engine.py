"""Interfaces of the engines that prove an exported file before its release."""

from typing import Protocol

from training.export.contract.tensors import Arrays


class Runner(Protocol):
    """Computes the outputs of a graph."""

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs of one run by name; `inputs` are by name too."""


class Engine(Runner, Protocol):
    """Runs an exported file, to compare its outputs with the checkpoint's."""

    machine: str  # processor and threads

"""Triton's model of a network with paths imports nothing of the project; copied constants are equal."""

import ast
from importlib.resources import files

import numpy as np

from service.backends.path_outputs import FILLED
from training.export.contract.tensors import NUMPY_DTYPES


def constants_of(source):
    """Return the values of the module's assignments by name, as syntax."""
    return {line.targets[0].id: line.value for line in ast.parse(source).body if isinstance(line, ast.Assign)}


def test_it_knows_the_dtypes_and_the_outputs_that_no_graph_returns():
    constants = constants_of((files("training.export.triton") / "paths" / "model.py").read_text("utf-8"))
    dtypes = constants["DTYPES"]
    known = {
        key.value: getattr(np, value.attr) for key, value in zip(dtypes.keys, dtypes.values, strict=True)
    }
    assert known == NUMPY_DTYPES
    assert ast.literal_eval(constants["FILLED"]) == FILLED

"""Triton's model of a network with paths forwards the time of requests; here without a server."""

import math
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import numpy as np
import pytest

from training.export.triton.path_models import ASKING_SOURCE


@pytest.fixture
def code(monkeypatch):
    """Return the module that Triton imports, whose Triton is empty and whose clock says 100 s."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    spec = spec_from_file_location("path_code", ASKING_SOURCE)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "path_code", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    return module


@pytest.mark.parametrize(
    ("ends_s", "left_us"),
    [
        pytest.param([100.25], 250_000, id="one request"),
        pytest.param([100.25, 103.0, 101.0], 3_000_000, id="of several, the longest"),
        pytest.param([100.25, math.inf], 0, id="one has no limit"),
        pytest.param([100.0], 1, id="the time is over: not 0, which means no limit"),
        pytest.param([90.0, 99.0], 1, id="it is long over"),
    ],
)
def test_joined_requests_have_the_longest_of_their_times(code, ends_s, left_us):
    nothing = np.zeros(0)
    asked = [code.Asked(nothing, nothing, slice(0), end_s, None) for end_s in ends_s]
    assert code.time_left_us(asked) == left_us

"""The types that stages exchange refuse wrong values."""

import numpy as np
import pytest

from service.tasks.classify import Classes
from service.tasks.detect import Detections
from service.types import ExpertActivation


def test_rows_must_agree():
    with pytest.raises(ValueError, match="do not fit n=1"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(1, np.int64))


def test_weights_must_agree_with_the_active_experts():
    with pytest.raises(ValueError, match="do not fit each other"):
        ExpertActivation("p4", 2, active=(0, 1), weights=(1.0,), probabilities=(0.5, 0.5), entropy_bits=1.0)


def test_every_class_has_a_score():
    with pytest.raises(ValueError, match="do not fit each other"):
        Classes(np.zeros(2, np.int64), np.zeros(1, np.float32))

"""What a server answers is checked against the manifest before anything is made of it."""

import numpy as np
import pytest

from service.backends.triton.backend import check_outputs
from service.errors import BackendFailed
from tests.builders import golden_image, run_graph


@pytest.fixture
def outputs(artifact):
    return run_graph(artifact.graph, golden_image()[None], top_k=2)


def test_the_outputs_of_the_graph_fit(artifact, outputs):
    check_outputs(outputs, artifact.manifest, 1)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("boxes", np.zeros((1, 4), np.float32)),
        ("boxes", np.zeros((1, 4, 5), np.float32)),
        ("scores", np.zeros((1, 3), np.float32)),
        ("scores", np.zeros((1, 4), np.float64)),
        ("class_ids", np.zeros((1, 4), np.int64)),
        ("gates", np.zeros((1, 2, 3), np.float32)),
        ("router_probs", np.zeros((2, 2, 4), np.float32)),
    ],
)
def test_another_shape_or_type_is_refused(artifact, outputs, name, wrong):
    with pytest.raises(BackendFailed, match="the manifest says"):
        check_outputs(outputs | {name: wrong}, artifact.manifest, 1)

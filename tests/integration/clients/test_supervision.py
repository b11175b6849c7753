"""The real package supervision takes what the client found, in an environment as users have it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.client_package import ROOT, install_client
from tests.integration.service.conftest import serve, wait_until_ready
from tests.shaped_models import BOXES_XYXY, CORNERS, MASKS, POINTS, build_shaped

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform == "win32", reason="looks for a POSIX environment"),
]

VERSION = "0.31.2"
SCRIPT = """
import sys
import numpy as np
import supervision as sv
from sparsight_client import RestClient

url, conf = sys.argv[1], float(sys.argv[2])
black = np.zeros((32, 32, 3), np.uint8)

def ask(model, method):
    with RestClient(url, model=model) as client:
        return getattr(client, method)(black, conf=conf).to_supervision()

segments, poses, oriented = ask("segment", "segment"), ask("pose", "pose"), ask("obb", "detect_oriented")
seen = {"lengths": [len(segments), len(poses), len(oriented)]}
if len(segments):
    seen |= {
        "masks": segments.mask,
        "boxes": segments.xyxy,
        "classes": segments.data["class_name"],
        "points": poses.xy,
        "point_scores": poses.keypoint_confidence,
        "corners": oriented.data["xyxyxyxy"],
        "around": oriented.xyxy,
        "drawn_masks": sv.MaskAnnotator(opacity=1).annotate(black.copy(), segments),
        "drawn_corners": sv.OrientedBoxAnnotator(thickness=1).annotate(black.copy(), oriented),
        "drawn_points": sv.VertexAnnotator(radius=1).annotate(black.copy(), poses),
        "drawn_edges": sv.EdgeAnnotator(thickness=1, edges=[(1, 2)]).annotate(black.copy(), poses),
    }
np.savez("seen.npz", **seen)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Install the client and supervision into an environment of their own."""
    installed = install_client(tmp_path_factory.mktemp("supervision"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", installed.bin / "python"]
    install = ["install", "--quiet", "--constraint", ROOT / "constraints.txt", f"supervision=={VERSION}"]
    done = subprocess.run([*pip, *install], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(done.stderr)
        pytest.skip(f"supervision could not be installed: {done.stderr[-300:]}")
    return installed


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    repository = build_shaped(tmp_path_factory.mktemp("shapes"))
    with serve(repository=repository, backends="onnx", default_model="pose") as running:
        assert wait_until_ready(running).status_code == 200
        yield running.url


def see(environment, url, conf, folder):
    """Run the script in the environment, and return the arrays that it saw."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [environment.bin / "python", "-W", "error::DeprecationWarning:__main__", script, url, str(conf)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.load(folder / "seen.npz")


def test_supervision_gets_and_draws_masks_keypoints_and_rotated_boxes(environment, url, tmp_path):
    seen = see(environment, url, 0.25, tmp_path)
    assert seen["lengths"].tolist() == [2, 2, 3]
    assert seen["masks"].dtype == bool
    np.testing.assert_array_equal(seen["masks"], MASKS)
    np.testing.assert_allclose(seen["boxes"], BOXES_XYXY, atol=1e-3)
    assert seen["classes"].tolist() == ["green", "blue"]
    np.testing.assert_allclose(seen["points"], POINTS[..., :2], atol=1e-3)
    np.testing.assert_allclose(seen["point_scores"], POINTS[..., 2], atol=1e-5)
    np.testing.assert_allclose(seen["corners"], CORNERS, atol=1e-3)
    around = np.concatenate([CORNERS.min(axis=1), CORNERS.max(axis=1)], axis=1)
    np.testing.assert_allclose(seen["around"], around, atol=1e-3)

    np.testing.assert_array_equal(seen["drawn_masks"].any(axis=-1), MASKS.any(axis=0))
    corners = seen["drawn_corners"].any(axis=-1)
    assert corners[4, 4:20].all(), "the upper side of the box that is not turned"
    assert corners[0:16, 9].all(), "a side of the box that is turned by a right angle"
    assert not corners[26, 5], "the centre of the box that is turned by 135 degrees"
    points = seen["drawn_points"].any(axis=-1)
    for x, y in POINTS[..., :2].reshape(-1, 2).round().astype(int):
        assert points[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any(), (x, y)
    first, second = POINTS[0, :2, :2]
    x, y = ((first + second) / 2).round().astype(int)
    assert seen["drawn_edges"][y, x].any(), "half way between two keypoints"


def test_supervision_gets_nothing_if_nothing_was_found(environment, url, tmp_path):
    assert see(environment, url, 0.95, tmp_path)["lengths"].tolist() == [0, 0, 0]

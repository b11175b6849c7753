"""A service answers with the masks of 300 large objects in an image of 40 megapixels, in bounded memory."""

import re
import signal
import subprocess
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from clients.rle import decode_rle
from tests.integration.service.test_process import command
from tests.onnx_builders import build_constant

pytestmark = pytest.mark.heavy

HEIGHT, WIDTH = 5000, 8000
OBJECTS = 300
DECODED = HEIGHT * WIDTH * 3  # bytes
EVERY = 400  # columns from one that is compared to the next
MODEL_INPUT, STRIDE = 64, 4
CELLS = MODEL_INPUT // STRIDE


def objects():
    """Return boxes (N, 4) in the model input, coefficients (N, 32) and prototypes (32, 16, 16).

    The boxes are nearly as large as the image. Each object is an ellipse with waves of its own.
    """
    rng = np.random.default_rng(0)
    low, high = ([0, 12], [8, 16]), ([56, 48], [64, 52])  # rows 12 to 52 of the model input show the image
    boxes = np.concatenate([rng.uniform(*low, (OBJECTS, 2)), rng.uniform(*high, (OBJECTS, 2))], axis=1)
    y, x = (np.indices((CELLS, CELLS)) - (CELLS - 1) / 2) / [[[5]], [[7]]]
    prototypes = rng.normal(0, 0.3, (32, CELLS, CELLS))
    prototypes[0] = 1 - x**2 - y**2
    coefficients = np.eye(32)[rng.integers(1, 32, OBJECTS)] * rng.uniform(0.2, 1, (OBJECTS, 1))
    coefficients[:, 0] = 1
    return boxes.astype(np.float32), coefficients.astype(np.float32), prototypes.astype(np.float16)


def weights(pixels, scale, offset):
    """Return the weight of each prototype cell for each pixel, (pixels, cells)."""
    at = ((pixels + 0.5) * scale + offset) / STRIDE - 0.5
    return np.stack([np.interp(at, np.arange(CELLS), row) for row in np.eye(CELLS)], axis=1)


def logits_of(cells, columns, height, scale, top):
    """Yield the logits (height, columns) of each object in some columns of the source image."""
    of_rows, of_columns = weights(np.arange(height), scale, top), weights(columns, scale, 0)
    for one in cells:
        yield of_rows @ one @ of_columns.T


def inside(box, columns, height):
    """Return which pixels of some columns have their centre in a box of the source image."""
    rows = np.arange(height) + 0.5
    left, top, right, bottom = box.tolist()
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns + 0.5 >= left) & (columns + 0.5 < right))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    boxes, coefficients, prototypes = objects()
    found = {
        "boxes_xyxy": boxes[None],
        "scores": np.linspace(0.9, 0.6, OBJECTS, dtype=np.float32)[None],
        "class_ids": np.zeros((1, OBJECTS), np.int32),
        "mask_coefficients": coefficients[None],
        "prototypes": prototypes[None],
    }
    columns = np.arange(MODEL_INPUT)
    cells = np.einsum("nk,khw->nhw", coefficients.astype(float), prototypes.astype(float))
    masks = [
        (logits > 0) & inside(box, columns, MODEL_INPUT)
        for logits, box in zip(logits_of(cells, columns, MODEL_INPUT, 1, 0), boxes, strict=True)
    ]
    answer = {f"det_{role}": found[role][0] for role in ("boxes_xyxy", "scores", "class_ids")}
    answer["det_masks"] = np.packbits(np.stack(masks), axis=-1)
    # An IoU of at most 1: no box suppresses another one.
    defaults = {"conf": 0.25, "iou": 1.0, "max_det": OBJECTS}
    settings = {"mask_stride": STRIDE, "prototypes": 32, "defaults": defaults}
    repository = tmp_path_factory.mktemp("large")
    build_constant(repository, "segment", settings, found, answer)
    wanted = {"SPARSIGHT_REPOSITORY": repository, "SPARSIGHT_BACKENDS": "onnx", "PORT": 0}
    wanted |= {"SPARSIGHT_TIMEOUT_S": 120}  # for a machine that does other work, too
    with subprocess.Popen(**command(**wanted)) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "ready: open" in line:
                break
        url = re.search(r"http://\S+", lines[-1])
        assert url, "".join(lines)
        with httpx.Client(base_url=url[0], timeout=180, trust_env=False) as client:
            yield client, process.pid
        process.send_signal(signal.SIGTERM)
        process.stderr.read()


@pytest.fixture(scope="module")
def photo():
    rows, columns = np.indices((HEIGHT, WIDTH), dtype=np.uint16)
    pixels = np.stack([rows >> 5, columns >> 5, (rows + columns) >> 6], axis=-1).astype(np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def resident(pid, name):
    """Return a number of bytes from the status of a process: VmRSS now, VmHWM at most since its reset."""
    (found,) = re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found) * 1024


def ask(running, photo, **query):
    """Return the answer for the photo, and by how many bytes the resident memory grew at most."""
    client, pid = running
    small = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    assert client.post("/detect", params=query, content=small).status_code == 200
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset VmHWM
    before = resident(pid, "VmRSS")
    answer = client.post("/detect", params=query, content=photo)
    assert answer.status_code == 200, answer.text[:500]
    return answer, resident(pid, "VmHWM") - before


def check_columns(predictions, read):
    """Compare some columns of all masks with the full computation; `read` returns these columns."""
    boxes, coefficients, prototypes = objects()
    assert len(predictions) == OBJECTS
    columns = np.arange(0, WIDTH, EVERY)
    scale = MODEL_INPUT / WIDTH
    place = scale, (MODEL_INPUT - round(HEIGHT * scale)) // 2
    cells = np.einsum("nk,khw->nhw", coefficients.astype(float), prototypes.astype(float))
    expected = logits_of(cells, columns, HEIGHT, *place)
    for one, logits, box in zip(predictions, expected, boxes, strict=True):
        left, top, right, bottom = (box - [0, place[1]] * 2) / scale
        left, top = max(left, 0), max(top, 0)
        want = (logits > 0) & inside(np.array([left, top, right, bottom]), columns, HEIGHT)
        differs = read(one["mask"]) != want
        # The service computes with 32 bits: the sign of a logit next to 0 may differ.
        assert (np.abs(logits[differs]) < 1e-5).all()
        assert want.sum() > 0.2 * want.size


def columns_of_rle(mask):
    return decode_rle(mask["counts"], tuple(mask["size"]))[:, ::EVERY]


def columns_of_rings(mask):
    """Return these columns: each horizontal edge turns unset into set pixels, or set into unset ones."""
    edges = np.zeros((HEIGHT + 1, WIDTH // EVERY + 1), np.int32)
    for ring in mask["polygon"]:
        points = np.array(ring)
        following = np.roll(points, -1, axis=0)
        level = points[:, 1] == following[:, 1]
        ends = np.sort([points[level, 0], following[level, 0]], axis=0)
        first, last = np.ceil((ends - 0.5) / EVERY).astype(int)
        rows = points[level, 1].astype(int)
        np.add.at(edges, (rows, first), 1)
        np.add.at(edges, (rows, last), -1)
    return edges.cumsum(axis=1)[:HEIGHT, :-1].cumsum(axis=0) % 2 == 1


@pytest.mark.parametrize(("form", "read"), [("rle", columns_of_rle), ("polygon", columns_of_rings)])
def test_the_masks_are_right_and_little_more_is_in_memory_than_the_image(running, photo, form, read):
    answer, grown = ask(running, photo, masks=form)
    check_columns(answer.json()["predictions"], read)
    assert grown < 1.5 * DECODED, "the decoded image, and half as much for all else"


def test_the_masks_are_drawn_one_by_one_into_the_only_copy_of_the_image(running, photo):
    answer, grown = ask(running, photo, format="jpeg", max_det=100)
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    plain = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert (np.abs(drawn[::8, ::8].astype(int) - plain[::8, ::8]).max(axis=-1) > 20).mean() > 0.5
    # The image; a mask at its size and its crop, or the crop and the copy in which OpenCV finds outlines,
    # each a third of the image; and as much as two more masks for all else.
    assert grown < 2.4 * DECODED

"""Labels match their objects for every EXIF orientation and both ways in which tools count pixels."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.data.small_data import extent
from training.data.open import open_dataset
from training.data_config import FolderConfig

UPRIGHT_HW = (48, 32)
OBJECT, REGION = [4, 8, 12, 28], [20, 4, 28, 8]  # on the upright image; white and black on grey
# How a camera stores the upright image, and where that puts a point.
STORED = {
    5: (Image.Transpose.TRANSPOSE, lambda x, y: (y, x)),
    6: (Image.Transpose.ROTATE_90, lambda x, y: (y, 32 - x)),
    7: (Image.Transpose.TRANSVERSE, lambda x, y: (48 - y, 32 - x)),
    8: (Image.Transpose.ROTATE_270, lambda x, y: (48 - y, x)),
}


def write_turned(path, orientation):
    pixels = np.full((*UPRIGHT_HW, 3), 128, np.uint8)
    for (x1, y1, x2, y2), grey in ((OBJECT, 255), (REGION, 0)):
        pixels[y1:y2, x1:x2] = grey
    image, exif = Image.fromarray(pixels), Image.Exif()
    if orientation > 1:
        image, exif[0x0112] = image.transpose(STORED[orientation][0]), orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=100, exif=exif)


def stored_box(box, orientation):
    move = STORED[orientation][1]
    (x1, y1), (x2, y2) = move(*box[:2]), move(*box[2:])
    return [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]


def write_coco(root, objects, regions, image_hw):
    rows = [(box, 0) for box in objects] + [(box, 1) for box in regions]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": crowd}
        for (x1, y1, x2, y2), crowd in rows
    ]
    image = {"id": 1, "file_name": "1.jpg", "height": image_hw[0], "width": image_hw[1]}
    labels = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(labels))
    return root / "train" / "1.jpg"


def write_voc(root, objects, regions, image_hw):
    rows = [(box, 0) for box in objects] + [(box, 1) for box in regions]
    body = "".join(
        f"<object><name>a</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for (x1, y1, x2, y2), difficult in rows
    )
    size = f"<size><width>{image_hw[1]}</width><height>{image_hw[0]}</height></size>"
    (root / "train").mkdir()
    (root / "train" / "1.xml").write_text(f"<annotation>{size}{body}</annotation>")
    return root / "train" / "1.jpg"


def write_sku110k(root, objects, _regions, image_hw):
    lines = [f"1.jpg,{x1},{y1},{x2},{y2},object,{image_hw[1]},{image_hw[0]}\n" for x1, y1, x2, y2 in objects]
    (root / "annotations").mkdir()
    (root / "annotations" / "annotations_train.csv").write_text("".join(lines))
    return root / "images" / "1.jpg"


def loaded(root):
    sample = open_dataset(FolderConfig(root=str(root))).load(0)
    np.testing.assert_array_equal(extent(sample.image[..., 0] > 192), OBJECT)  # read upright, always
    return sample.boxes_xyxy.tolist(), sample.ignored_xyxy.tolist()


@pytest.mark.parametrize("write", [write_coco, write_voc, write_sku110k])
@pytest.mark.parametrize("orientation", STORED)
def test_labels_of_the_stored_pixels_are_turned_with_the_image(tmp_path, write, orientation):
    boxes = [[stored_box(box, orientation)] for box in (OBJECT, REGION)]
    write_turned(write(tmp_path, *boxes, UPRIGHT_HW[::-1]), orientation)
    assert loaded(tmp_path) == ([OBJECT], [] if write is write_sku110k else [REGION])


@pytest.mark.parametrize("write", [write_coco, write_voc, write_sku110k])
def test_labels_of_the_upright_image_stay(tmp_path, write):
    write_turned(write(tmp_path, [OBJECT], [], UPRIGHT_HW), 6)
    assert loaded(tmp_path)[0] == [OBJECT]


@pytest.mark.parametrize(
    ("orientation", "image_hw"),
    [
        pytest.param(6, (0, 0), id="turned, and no size is stated"),
        pytest.param(6, (47, 32), id="turned, and the size is another"),
        pytest.param(1, (32, 48), id="not turned: width and height have changed places"),
    ],
)
@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_where_nothing_tells_labels_are_of_the_upright_image(tmp_path, write, orientation, image_hw):
    write_turned(write(tmp_path, [OBJECT], [], image_hw), orientation)
    assert loaded(tmp_path)[0] == [OBJECT]


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>wide</width><height>9</height></size>"])
def test_a_size_that_is_no_size_is_not_stated(tmp_path, size):
    write_turned(write_voc(tmp_path, [OBJECT], [], (1, 1)), 6)
    xml = tmp_path / "train" / "1.xml"
    xml.write_text(xml.read_text().replace("<size><width>1</width><height>1</height></size>", size))
    assert loaded(tmp_path)[0] == [OBJECT]

import cv2
import numpy as np
import pytest

from tests.unit.training.data.small_data import extent
from training.data.scenes import objects as scene_objects
from training.data.scenes.objects import Pose, Thing
from training.data.scenes.scenes import CLASS_NAMES, REGIMES, ScenesDataset, draw

MAKERS = {
    "ring_cell": scene_objects.ring_cell,
    "disc_cell": scene_objects.disc_cell,
    "coin": scene_objects.coin,
    "fish": scene_objects.fish,
    "starfish": scene_objects.starfish,
    "card": scene_objects.card,
}


def square(x, y, side, class_name="card", see_through=False):
    """A white upright square with its top left corner at x, y."""
    outline = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], dtype=np.float64)
    return Thing(
        class_name,
        Pose(x, y, 1.0, 0.0),
        outline,
        lambda u, v: (np.full((*u.shape, 3), 255, dtype=np.float32), np.ones_like(u)),
        see_through,
    )


def black(height=100, width=100):
    return np.zeros((height, width, 3), dtype=np.float32)


def test_an_index_always_gives_the_same_scene_and_others_differ():
    one, again, other_seed = (ScenesDataset(8, seed, (96, 96)).load(4) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.boxes_xyxy, again.boxes_xyxy)
    assert (one.image != other_seed.image).any()
    assert (one.image != ScenesDataset(8, 1, (96, 96)).load(7).image).any()


def test_a_longer_data_set_begins_with_the_shorter_one():
    np.testing.assert_array_equal(
        ScenesDataset(2, 0, (64, 64)).load(1).image, ScenesDataset(9, 0, (64, 64)).load(1).image
    )


def test_regimes_take_turns():
    scenes = ScenesDataset(7, 0, (64, 64))
    assert [scenes.regime(index) for index in range(4)] == [*REGIMES, "microscope"]


def test_scenes_run_from_sparse_to_crowded_and_use_every_class():
    scenes = ScenesDataset(60, 0, (160, 160))
    samples = [scenes.load(index) for index in range(len(scenes))]
    counts = [len(sample.class_ids) for sample in samples]
    assert min(counts) <= 3
    assert max(counts) >= 30
    assert set(np.concatenate([sample.class_ids for sample in samples])) == set(range(len(CLASS_NAMES)))


def test_boxes_have_an_area_inside_the_image():
    scenes = ScenesDataset(12, 3, (128, 192))
    for index in range(len(scenes)):
        made = scenes.load(index)
        assert made.image.shape == (128, 192, 3)
        assert (made.boxes_xyxy[:, 2:] - made.boxes_xyxy[:, :2] >= 2).all()
        assert made.boxes_xyxy.min() >= 0
        assert (made.boxes_xyxy[:, 2:] <= [192, 128]).all()


def test_regimes_differ_in_brightness():
    scenes = ScenesDataset(12, 0, (96, 96))
    brightness = [scenes.load(index).image.mean() for index in range(12)]
    assert min(brightness[0::3]) > max(brightness[1::3]) + 50  # every microscope against every aquarium


def test_encoded_is_the_same_image_without_loss():
    scenes = ScenesDataset(1, 0, (64, 64))
    decoded = cv2.imdecode(np.frombuffer(scenes.encoded(0), dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoded, scenes.load(0).image)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_the_data_set_is_refused(index):
    with pytest.raises(IndexError, match=r"outside 0\.\.2"):
        ScenesDataset(3, 0, (64, 64)).load(index)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("centre", [(60.3, 55.8), (4.0, 110.0)], ids=["inside", "over the corner"])
def test_a_box_is_the_extent_of_the_drawn_pixels(name, centre):
    for seed in range(5):
        thing = MAKERS[name](Pose(*centre, 30.0, seed * 0.7), np.random.default_rng(seed))
        plain = Thing(  # the same outline in one opaque colour, so that its pixels can be counted
            thing.class_name, thing.pose, thing.outline, square(0, 0, 1).paint, thing.see_through
        )
        canvas = black(120, 120)
        boxes, class_ids = draw(canvas, [plain])
        assert boxes.tolist() == [extent(canvas[..., 0] >= 127.5)]
        assert CLASS_NAMES[class_ids[0]] == thing.class_name


def test_a_square_covers_exactly_its_pixels():
    canvas = black()
    boxes, _ = draw(canvas, [square(10, 20, 30)])
    assert boxes.tolist() == [[10, 20, 40, 50]]
    assert canvas[20:50, 10:40].min() == 255


def test_a_box_is_cut_at_the_border():
    boxes, _ = draw(black(), [square(90, -10, 30)])
    assert boxes.tolist() == [[90, 0, 100, 20]]


def test_a_covered_object_keeps_the_box_of_what_shows():
    boxes, class_ids = draw(black(), [square(10, 10, 40, "card"), square(30, 0, 60, "disc")])
    assert boxes.tolist() == [[10, 10, 30, 50], [30, 0, 90, 60]]
    assert [CLASS_NAMES[i] for i in class_ids] == ["card", "disc"]


@pytest.mark.parametrize(
    ("shown", "labelled"), [pytest.param(8, 1, id="a fifth shows"), pytest.param(4, 0, id="a tenth shows")]
)
def test_an_object_hidden_almost_wholly_is_not_labelled(shown, labelled):
    things = [square(10, 10, 40), square(10 + shown, 0, 60, "disc")]
    _, class_ids = draw(black(), things)
    assert len(class_ids) == 1 + labelled


def test_a_see_through_object_hides_nothing():
    boxes, _ = draw(black(), [square(10, 10, 20), square(10, 10, 20, "ring", see_through=True)])
    assert boxes.tolist() == [[10, 10, 30, 30], [10, 10, 30, 30]]


def test_an_object_of_one_pixel_is_not_labelled():
    boxes, class_ids = draw(black(), [square(10, 10, 1)])
    assert (boxes.shape, class_ids.shape) == ((0, 4), (0,))


def test_an_empty_scene_has_no_boxes():
    boxes, class_ids = draw(black(), [])
    assert (boxes.shape, class_ids.shape) == ((0, 4), (0,))

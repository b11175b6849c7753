"""From random weights, networks of every object task learn to find objects of scenes unseen in training."""

from dataclasses import replace

import pytest

from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.recipes.recipes import Request, build_config
from training.tasks.choose import task_named
from training.trainer.checkpoint import MODEL_FILE, load_model
from training.trainer.loop import Trainer

SIDE = (128, 128)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("variant", "epochs", "least"),
    # One seed each gave 0.50, 0.57 and 0.91.
    [("sparsight-n-seg", 12, 0.35), ("sparsight-n-obb", 12, 0.4), ("sparsight-n-pose", 50, 0.6)],
)
def test_a_network_finds_objects_of_scenes_that_it_has_not_seen(variant, epochs, least, tmp_path):
    task = task_named({"seg": "segment", "obb": "obb", "pose": "pose"}[variant.rsplit("-", 1)[1]])
    scenes = ScenesConfig(images=256, image_hw=SIDE, labels=task.labels)
    data, unseen = open_dataset(scenes), open_dataset(replace(scenes, images=64, seed=1))
    request = Request(
        class_names=data.class_names,
        train_data=scenes,
        variant=variant,
        skeleton=data.skeleton,
        overrides={"model.input_hw": SIDE, "epochs": epochs},
    )
    config = replace(build_config("quick", request), loader_workers=0)
    assert Trainer(config, data, tmp_path).run().finished
    model, _ = load_model(tmp_path / MODEL_FILE)
    result = task.evaluate(model, unseen)
    scores = task.scores(result, unseen)
    assert scores[task.best_by.removesuffix("-95")] >= least
    # Routers depend on the image, as in detection.
    assert max(value for name, value in scores.items() if name.startswith("bits ")) >= 1

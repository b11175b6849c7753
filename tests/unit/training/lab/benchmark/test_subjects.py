"""Models of every task that finds objects can be timed, whole and with only the chosen experts."""

from dataclasses import replace

import pytest
import torch

from tests.training_builders import shaped_model
from training.lab.benchmark.subjects import benchmark_canvas, bound_of, checkpoint, named_variant
from training.models.oriented_detector import OrientedDetector
from training.models.pose_estimator import PoseEstimator
from training.models.segmenter import Segmenter
from training.trainer.checkpoint import save_model

TASKS = {"seg": Segmenter, "pose": PoseEstimator, "obb": OrientedDetector}


@pytest.mark.parametrize(("suffix", "network"), TASKS.items(), ids=TASKS)
def test_a_variant_is_the_network_of_its_task(suffix, network):
    subject = named_variant(f"sparsight-n-{suffix}", (64, 64), [1])
    assert type(subject.model) is network
    images = torch.from_numpy(benchmark_canvas((64, 64)))[None]
    with torch.inference_mode():
        whole, bound = (model.decode(model(images)) for model in (subject.model, bound_of(subject, 1)))
    assert len(whole) == len(bound) == 3
    assert all(values.isfinite().all() for values in (*whole, *bound))


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_a_checkpoint_keeps_its_weights_at_another_input_size(task, tmp_path):
    model = shaped_model(task)
    save_model(tmp_path / "model.safetensors", model, {})
    resized = checkpoint(tmp_path / "model.safetensors", (96, 64), None).model
    assert type(resized) is type(model)
    assert resized.config == replace(model.config, input_hw=(96, 64))
    weights = resized.state_dict()
    for name, values in model.state_dict().items():
        torch.testing.assert_close(weights[name], values)

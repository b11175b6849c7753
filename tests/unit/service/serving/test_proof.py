"""A served version must reproduce its golden sample or, without a sample, return finite numbers."""

import asyncio

import numpy as np
import pytest

from service.artifact.golden import load_golden
from service.backends.openvino import OpenVinoBackend
from service.errors import ArtifactMismatch, BackendFailed
from service.request import RequestContext
from service.serving.proof import check_replay, prove_by_blank, prove_by_golden, replay_golden
from service.settings import OpenVinoSettings
from service.tasks.detect import Detections
from tests.unit.service.traffic.route_builders import ScriptedBackend

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def test_the_service_reproduces_the_sample(artifact, backend):
    asyncio.run(prove_by_golden(artifact, backend, 20))


def test_a_classifier_reproduces_its_sample(classifier):
    backend = OpenVinoBackend(classifier, OpenVinoSettings(), workers=1)
    asyncio.run(prove_by_golden(classifier, backend, 20))
    asyncio.run(backend.close())


def test_what_the_task_makes_of_it_is_compared_too(artifact, backend):
    golden = load_golden(artifact)
    context = RequestContext.within(20)
    replay = asyncio.run(replay_golden(golden.image, artifact.manifest, backend, context))
    check_replay(replay, golden, artifact.manifest)
    without = type(replay)(replay.input, replay.outputs, NOTHING)
    with pytest.raises(ArtifactMismatch, match="golden detection 0 was not found"):
        check_replay(without, golden, artifact.manifest)


def test_a_blank_canvas_must_be_answered_in_numbers_of_the_right_shape(artifact, backend):
    outputs = load_golden(artifact).outputs
    asyncio.run(prove_by_blank(artifact.manifest, ScriptedBackend(dict(outputs)), 5))
    lost = outputs | {"scores": outputs["scores"] * np.float32("nan")}
    with pytest.raises(ArtifactMismatch, match=r"scores .a blank image. differs by nan"):
        asyncio.run(prove_by_blank(artifact.manifest, ScriptedBackend(lost), 5))
    short = outputs | {"scores": outputs["scores"][:, :2]}
    with pytest.raises(BackendFailed, match=r"answered scores as float32 \(1, 2\)"):
        asyncio.run(prove_by_blank(artifact.manifest, ScriptedBackend(short), 5))

"""On a real Triton, ensembles answer with finished masks, keypoints and corners, as the service does."""

from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from faster_coco_eval.core import mask as coco_mask

from service.artifact.manifest import parse_manifest
from service.pipeline.letterbox import Letterbox
from service.pipeline.preprocess import Placed
from service.pipeline.rotated import corners_of
from service.request import ResolvedParams
from service.tasks.choose import task_of
from tests.integration.triton.test_ensemble import ask, controls, thresholds
from tests.training_builders import shaped_model
from tests.triton_server import start_triton
from tests.unit.training.export.artifact.test_bundle import tinted_scenes
from tests.unit.training.export.engines import canvases
from training.export.artifact.bundle import export_model
from training.export.artifact.manifest import Provenance
from training.export.targets.build import ExportImages
from training.export.targets.options import ExportOptions
from training.export.triton.config import TritonOptions, write_all_configs

pytestmark = pytest.mark.heavy

TASKS = ("segment", "pose", "obb")
# OpenVINO's graph selects its candidates and skips experts; the NPU's returns every anchor; TensorRT's takes
# batches, and the stand-in for its backend runs the ONNX twin.
TARGETS = ("openvino", "npu", "tensorrt")
INPUT_HW = (64, 64)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("shapes"), tinted_scenes()
    for task in TASKS:
        for target in TARGETS:
            export_model(
                shaped_model(task),
                folder,
                task,
                ExportImages(images, images),
                targets=[target],
                options=ExportOptions(execution="sparse" if target == "openvino" else "auto"),
                provenance=Provenance("0" * 64),
            )
    write_all_configs(folder, TritonOptions(instances=1))
    return folder


@pytest.fixture(scope="module")
def client(repository):
    with start_triton(repository) as server, grpcclient.InferenceServerClient(server.grpc_url) as connected:
        yield connected


@pytest.fixture(scope="module", params=[f"{task}-{target}" for task in TASKS for target in TARGETS])
def served(request, repository):
    """A graph in Triton: its name, its manifest and what the service makes of its outputs."""
    (path,) = (repository / request.param).glob("*/manifest.json")
    manifest = parse_manifest(path.read_bytes(), str(path))
    with np.load(path.parent / "golden.npz", allow_pickle=False) as golden:
        arrays = dict(golden)
    return SimpleNamespace(
        name=request.param, task=manifest.task, manifest=manifest, golden=arrays, reads=task_of(manifest)
    )


def by_service(served, raw, image, conf, iou, max_det):
    """Return what the service answers if the source image is the network input."""
    values = {"conf": conf, "iou": iou, "max_det": max_det}
    params = ResolvedParams(
        values=values, class_ids=None, class_conf={}, agnostic_nms=False, controls=controls(1)
    )
    return served.reads.read(raw, params, Placed(image, Letterbox.fit(INPUT_HW, INPUT_HW), INPUT_HW))


def check_equal(served, got, want):
    found = want.detections
    assert got["scores"].tolist() == found.scores.tolist()
    assert got["class_ids"].tolist() == found.class_ids.tolist()
    boxes = got["boxes"] if served.task == "obb" else got["boxes"].clip(0, 64)
    np.testing.assert_allclose(boxes, found.boxes_xyxy, atol=1e-4)
    match served.task:
        case "segment":
            assert [counts.decode() for counts in got["masks"]] == [mask.counts for mask in want.masks]
        case "pose":
            np.testing.assert_allclose(got["keypoints"], want.keypoints, atol=1e-4)
        case "obb":
            corners = corners_of(found.boxes_xyxy, want.angles)
            # At angle + pi, a box is the same and its corners begin at the opposite one.
            turned = np.abs(got["corners"] - corners).max(axis=(1, 2)) > 1e-2
            corners[turned] = np.roll(corners[turned], 2, axis=1)
            np.testing.assert_allclose(got["corners"], corners, atol=1e-2)


@pytest.mark.parametrize(("conf", "iou", "max_det"), [(0.5, 0.7, 300), (0.3, 0.3, 20)])
def test_the_ensemble_equals_the_service_over_the_graph_s_outputs(client, served, conf, iou, max_det):
    found = 0
    for image in (canvas[None] for canvas in canvases()):
        raw = ask(client, served.name, images=image, **controls(1))
        got = ask(
            client,
            f"{served.name}-detect",
            images=image,
            **controls(1),
            **thresholds(conf, iou, max_det),
        )
        check_equal(served, got, by_service(served, raw, image, conf, iou, max_det))
        assert np.array_equal(got["gates"], raw["gates"])
        found += len(got["scores"])
    assert found > 4 * len(canvases())


def test_the_golden_answer_comes_out_in_pixels_of_the_network_input(client, served):
    golden, spec = served.golden, served.manifest.golden
    got = ask(
        client,
        f"{served.name}-detect",
        images=golden["input"],
        **controls(spec.controls["top_k"], spec.controls["weight_threshold"]),
        **thresholds(spec.params["conf"]),
    )
    place = Letterbox.fit(golden["image"].shape[:2], INPUT_HW)
    assert (place.left, place.top, place.scale) == (0, 8, 1), "the image is 48 × 64 in an input of 64 × 64"
    assert got["scores"] == pytest.approx(golden["det_scores"], abs=1e-4)
    if served.task == "pose":
        want = golden["det_keypoints"] + [0, 8, 0]
        np.testing.assert_allclose(got["keypoints"], want, atol=1e-2)
    if served.task == "obb":
        np.testing.assert_allclose(got["boxes"], golden["det_boxes_xyxy"] + [0, 8, 0, 8], atol=1e-2)
    if served.task == "segment":
        packed = golden["det_masks"]
        for counts, want in zip(got["masks"], np.unpackbits(packed, axis=-1, count=64), strict=True):
            mask = coco_mask.decode({"size": list(INPUT_HW), "counts": counts})[8:56]
            union = (mask | want).sum()
            assert (mask & want).sum() >= 0.99 * union


def test_nothing_found_is_empty_and_not_an_error(client, served):
    got = ask(
        client,
        f"{served.name}-detect",
        images=served.golden["input"],
        **controls(1),
        **thresholds(conf=1.0),
    )
    assert got["boxes"].shape == (0, 4)
    name, shape = {
        "segment": ("masks", (0,)),
        "pose": ("keypoints", (0, 3, 3)),
        "obb": ("corners", (0, 4, 2)),
    }[served.task]
    assert got[name].shape == shape

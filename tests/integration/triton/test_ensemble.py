"""On a real Triton, all models load; the ensemble answers like the service, and counts each image once."""

import json
import re
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from service.artifact.manifest import parse_manifest
from service.pipeline.decode import decode
from service.pipeline.letterbox import Letterbox
from service.pipeline.nms import suppress
from service.tasks.detect import Detections, candidates_in, compare_detections
from tests.builders import build_artifact, golden_image
from tests.training_builders import plain_model
from tests.triton_server import ROOT, start_triton
from training.data.scenes.scenes import ScenesDataset
from training.export.artifact.bundle import export_model
from training.export.artifact.manifest import Provenance
from training.export.targets.build import ExportImages
from training.export.triton.config import TritonOptions, write_all_configs

GRAPHS = ("starter-openvino", "twin-npu")  # one selects its candidates, one returns every anchor
TYPES = {"images": "UINT8", "top_k": "INT64", "max_det": "INT32"}  # the others are FP32


def ask(client, model, version="", **inputs):
    """Every output by name."""
    sent = []
    for name, values in inputs.items():
        sent.append(grpcclient.InferInput(name, list(values.shape), TYPES.get(name, "FP32")))
        sent[-1].set_data_from_numpy(values)
    answer = client.infer(model, sent, model_version=version)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def controls(top_k=2, weight_threshold=0.0, rows=1):
    return {
        "top_k": np.full((rows, 1), top_k, dtype=np.int64),
        "weight_threshold": np.full((rows, 1), weight_threshold, dtype=np.float32),
    }


def thresholds(conf=0.25, iou=0.7, max_det=300):
    return {
        "conf": np.array([conf], dtype=np.float32),
        "iou": np.array([iou], dtype=np.float32),
        "max_det": np.array([max_det], dtype=np.int32),
    }


def counted(server):
    """Sparsight's counters by name and labels."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    found = (re.fullmatch(r"(sparsight_triton_\w+\{.*\}) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


@pytest.fixture(scope="module")
def client(triton):
    with grpcclient.InferenceServerClient(triton.grpc_url) as connected:
        yield connected


@pytest.fixture(scope="module", params=GRAPHS)
def served(request, project_repository):
    """A graph in Triton: its name and its model's, its manifest and its golden sample."""
    folder = project_repository / request.param / "1"
    manifest = parse_manifest((folder / "manifest.json").read_bytes(), str(folder))
    return SimpleNamespace(
        name=request.param,
        model=manifest.name,
        manifest=manifest,
        golden=np.load(folder / "golden.npz"),
    )


def expected(served, raw, conf, iou, max_det):
    """What the service makes of the graph's outputs, on the canvas."""
    candidates, _ = candidates_in(served.manifest, raw)
    kept = suppress(candidates, conf, iou, max_det)
    return {
        "boxes": candidates.boxes_xyxy[kept],
        "scores": candidates.scores[kept],
        "class_ids": candidates.class_ids[kept],
    }


def test_every_model_of_the_repository_is_ready_with_its_manifest(client, project_repository):
    states = {
        model.name: model.state for model in client.get_model_repository_index().models if model.version
    }
    for name in (f"{graph}{part}" for graph in GRAPHS for part in ("", "-nms", "-detect")):
        assert states[name] == "READY", name
        parameters = client.get_model_config(name).config.parameters
        text = parameters["manifest.1"].string_value
        folder = re.sub("-(nms|detect)$", "", name)
        assert text.encode() == (project_repository / folder / "1" / "manifest.json").read_bytes()


def test_the_golden_sample_comes_out_of_the_ensemble(client, served):
    golden, spec, manifest = served.golden, served.manifest.golden, served.manifest
    defaults = manifest.task_settings.defaults
    got = ask(
        client,
        f"{served.name}-detect",
        images=golden["input"],
        **controls(spec.controls["top_k"], spec.controls["weight_threshold"]),
        **thresholds(spec.params["conf"], defaults.iou, defaults.max_det),
    )
    scores = "scores" if "scores" in golden else "class_scores"
    height, width = golden["image"].shape[:2]
    placed = Letterbox.fit((height, width), golden["input"].shape[1:3])
    boxes_xyxy = np.clip(placed.to_source(got["boxes"]), 0, [width, height] * 2)
    compare_detections(  # in 8 bits each kind of CPU rounds in its own way
        Detections(boxes_xyxy, got["scores"], got["class_ids"]),
        Detections(golden["det_boxes_xyxy"], golden["det_scores"], golden["det_class_ids"]),
        conf=spec.params["conf"],
        boxes=manifest.output("boxes_xyxy").tolerance,
        scores=manifest.output(scores).tolerance,
    )
    assert np.abs(got["gates"] - golden["gates"]).max() <= manifest.output("gates").tolerance.absolute
    assert got["router_probs"].shape == golden["router_probs"].shape


@pytest.mark.parametrize(("conf", "iou", "max_det", "top_k"), [(0.25, 0.7, 300, 2), (0.05, 0.3, 7, 1)])
def test_on_real_images_the_ensemble_equals_the_service_over_the_graph_s_outputs(
    client, served, real_images, conf, iou, max_det, top_k
):
    found = 0
    spec = served.manifest.images
    for encoded in real_images:
        pixels = decode(encoded, max_pixels=10**7).pixels
        placed = Letterbox.fit(pixels.shape[:2], spec.canvas_hw)
        images = placed.apply(pixels, spec.canvas_hw, spec.resize.pad_value)
        raw = ask(client, served.name, images=images, **controls(top_k))
        got = ask(
            client,
            f"{served.name}-detect",
            images=images,
            **controls(top_k),
            **thresholds(conf, iou, max_det),
        )
        for name, values in expected(served, raw, conf, iou, max_det).items():
            assert np.array_equal(got[name], values), name
        assert np.array_equal(got["gates"], raw["gates"])
        found += len(got["scores"])
    assert found > 2 * len(real_images)


def test_nothing_found_is_empty_and_not_an_error(client, served):
    got = ask(
        client,
        f"{served.name}-detect",
        images=served.golden["input"],
        **controls(),
        **thresholds(conf=1.0),
    )
    assert got["boxes"].shape == (0, 4)
    assert got["scores"].shape == got["class_ids"].shape == (0,)


def test_a_direct_request_is_counted_once_and_the_graph_alone_never(triton, client, served):
    images, before = served.golden["input"], counted(triton)
    ask(client, served.name, images=images, **controls())
    assert counted(triton) == before
    got = ask(client, f"{served.name}-detect", images=images, **controls(), **thresholds())
    after = counted(triton)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    labels = f'{{model="{served.model}",version="1"}}'
    assert grown[f"sparsight_triton_images_total{labels}"] == 1
    assert grown[f"sparsight_triton_detections_total{labels}"] == len(got["scores"])
    for layer in served.manifest.mixture:
        for expert in range(layer.num_experts):
            labels = f'{{expert="{expert}",layer="{layer.layer}",model="{served.model}",version="1"}}'
            gate = got["gates"][0, layer.row, expert]
            assert grown[f"sparsight_triton_expert_activations_total{labels}"] == (gate > 0)
            weight = grown[f"sparsight_triton_expert_gate_weight_total{labels}"]
            assert weight == pytest.approx(gate, abs=1e-5)


WRONG = [
    ({"conf": 1.5}, {}, "conf is 1.5; it must be between 0 and 1"),
    ({"conf": float("nan")}, {}, "conf is nan"),
    ({"iou": -0.5}, {}, "iou is -0.5; it must be between 0 and 1"),
    ({"iou": float("nan")}, {}, "iou is nan"),
    ({"max_det": 0}, {}, "max_det is 0; it must be at least 1"),
    ({}, {"top_k": -1}, r"top_k is -1; it must be one of \[.*4\]"),
    ({}, {"top_k": 5}, r"top_k is 5; it must be one of \[.*4\]"),
    ({}, {"weight_threshold": float("nan")}, "weight_threshold is nan; it must be between 0 and 1"),
    ({}, {"rows": 2}, "unexpected shape"),
]


@pytest.mark.parametrize(("wrong", "wrong_controls", "message"), WRONG)
def test_a_bad_parameter_is_refused_in_words_and_the_next_request_is_served(
    triton, client, project_repository, wrong, wrong_controls, message
):
    one = np.load(project_repository / "starter-openvino" / "1" / "golden.npz")["input"]
    images = np.repeat(one, wrong_controls.get("rows", 1), axis=0)
    before = counted(triton)
    with pytest.raises(InferenceServerException, match=message) as refused:
        ask(
            client,
            "starter-openvino-detect",
            images=images,
            **controls(**wrong_controls),
            **thresholds(**wrong),
        )
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert counted(triton) == before
    ask(client, "starter-openvino-detect", images=images[:1], **controls(), **thresholds())


@pytest.fixture(scope="module")
def swapping(tmp_path_factory):
    """A server over a model whose versions change; tests run in order, each from what the last has left."""
    repository = tmp_path_factory.mktemp("swapping")
    build_artifact(repository)
    write_all_configs(repository, TritonOptions(instances=1))
    with start_triton(repository) as server, grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield SimpleNamespace(server=server, client=client, repository=repository)


def ready_versions(client, model):
    models = client.get_model_repository_index().models
    return {each.version for each in models if each.name == model and each.state == "READY"}


def test_loading_the_ensemble_brings_in_a_new_version_and_the_old_one_goes_on(swapping):
    server, client = swapping.server, swapping.client
    build_artifact(swapping.repository, version="2")
    write_all_configs(swapping.repository, TritonOptions(instances=1))
    server.load("tiny-openvino-detect")
    assert ready_versions(swapping.client, "tiny-openvino") == {"1", "2"}
    images = golden_image()[None]
    for version in ("1", "2"):
        ask(client, "tiny-openvino", version, images=images, **controls())
    ask(client, "tiny-openvino-detect", images=images, **controls(), **thresholds())
    assert counted(server)['sparsight_triton_images_total{model="tiny",version="2"}'] == 1


def test_a_configuration_that_names_a_version_which_is_not_there_harms_nobody(swapping):
    """What an export leaves that was killed between its two steps."""
    build_artifact(swapping.repository, version="3")
    write_all_configs(swapping.repository, TritonOptions(instances=1))
    shutil.rmtree(swapping.repository / "tiny-openvino" / "3")
    swapping.server.load("tiny-openvino")
    assert ready_versions(swapping.client, "tiny-openvino") == {"1", "2"}
    for version in ("1", "2"):
        ask(swapping.client, "tiny-openvino", version, images=golden_image()[None], **controls())
    assert "manifest.3" in swapping.client.get_model_config("tiny-openvino").config.parameters
    write_all_configs(swapping.repository, TritonOptions(instances=1))
    swapping.server.load("tiny-openvino")
    assert "manifest.3" not in swapping.client.get_model_config("tiny-openvino").config.parameters


def test_a_version_with_other_tensors_replaces_those_before_it_in_all_three_models(swapping):
    client, folder = swapping.client, swapping.repository / "tiny-openvino" / "4"
    shutil.copytree(ROOT / "model_repository" / "starter-openvino" / "1", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": "tiny", "version": "4"}))
    write_all_configs(swapping.repository, TritonOptions(instances=1))
    swapping.server.load("tiny-openvino-detect")
    images = np.load(folder / "golden.npz")["input"]
    got = ask(client, "tiny-openvino-detect", images=images, **controls(), **thresholds(conf=0.1))
    assert len(got["scores"])
    assert ready_versions(swapping.client, "tiny-openvino") == {"4"}


@pytest.fixture(scope="module")
def tensorrt(tmp_path_factory):
    """A server over a small model for TensorRT; the stand-in for that backend runs the ONNX twin."""
    repository = tmp_path_factory.mktemp("tensorrt")
    scenes = [ScenesDataset(6, seed=3, image_hw=(48, 64)).load(index).image for index in range(6)]
    export_model(
        plain_model(),
        repository,
        "tiny",
        ExportImages(scenes, scenes),
        targets=["tensorrt"],
        provenance=Provenance("0" * 64),
    )
    # A long wait, so that requests sent together meet even on a busy machine.
    write_all_configs(repository, TritonOptions(instances=1, batch_delay_s=0.5))
    with start_triton(repository) as server, grpcclient.InferenceServerClient(server.grpc_url) as client:
        yield SimpleNamespace(client=client, repository=repository)


def batches_run(client, model):
    """How often each batch size was executed."""
    (statistics,) = client.get_inference_statistics(model).model_stats
    return {each.batch_size: each.compute_infer.count for each in statistics.batch_stats}


@pytest.mark.heavy
def test_requests_that_come_together_share_a_batch_and_get_what_they_get_alone(tensorrt):
    client = tensorrt.client
    rng = np.random.default_rng(0)
    requests = [
        {
            "images": (rng.integers(0, 256, (1, 64, 64, 3)) * rng.random(3)).astype(np.uint8),
            **controls(top_k=1 + index % 2),
        }
        for index in range(8)
    ]
    alone = [ask(client, "tiny-tensorrt", **request) for request in requests]
    before = batches_run(client, "tiny-tensorrt")
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda request: ask(client, "tiny-tensorrt", **request), requests))
    after = batches_run(client, "tiny-tensorrt")
    assert any(after.get(size, 0) > before.get(size, 0) for size in range(2, 9)), (before, after)
    for single, shared in zip(alone, together, strict=True):
        assert np.array_equal(single["gates"] > 0, shared["gates"] > 0)
        for name in ("gates", "scores", "boxes"):
            np.testing.assert_allclose(shared[name], single[name], rtol=1e-5, atol=1e-3)
    assert len({row["gates"].tobytes() for row in alone}) > 4, "rows that are all alike prove nothing"


@pytest.mark.heavy
def test_the_ensemble_over_a_batching_model_takes_one_image_and_shares_batches_too(tensorrt):
    client = tensorrt.client
    images = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    request = {"images": images, **controls(top_k=1), **thresholds(conf=0.3, max_det=20)}
    manifest = (tensorrt.repository / "tiny-tensorrt" / "1" / "manifest.json").read_bytes()
    model = SimpleNamespace(manifest=parse_manifest(manifest, "tiny"))
    assert model.manifest.batch == (1, 2, 3, 4, 5, 6, 7, 8)
    raw = ask(client, "tiny-tensorrt", images=images, **controls(top_k=1))
    want = expected(model, raw, 0.3, 0.7, 20)
    before = batches_run(client, "tiny-tensorrt")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(client, "tiny-tensorrt-detect", **request), range(4)))
    after = batches_run(client, "tiny-tensorrt")
    assert any(after.get(size, 0) > before.get(size, 0) for size in range(2, 9)), (before, after)
    for got in answers:
        assert got["class_ids"].tolist() == want["class_ids"].tolist()
        np.testing.assert_allclose(got["scores"], want["scores"], atol=1e-4)
        np.testing.assert_allclose(got["boxes"], want["boxes"], rtol=1e-5, atol=1e-3)
        assert got["gates"].shape == (1, 4, 2)
    assert len(want["scores"])

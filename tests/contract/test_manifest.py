"""The service and the JSON schema accept and refuse the same manifests, and accept the exporter's."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken
from tests.unit.training.export.artifact.test_manifest_routing import BY_ORIGIN, measured
from training.export.artifact.manifest import Evidence, Identity, Provenance, build_manifest
from training.export.contract.spec import GraphSpec
from training.export.proof.defaults import Choice, Setting
from training.export.proof.golden import Golden
from training.export.proof.parity import MetricPair, Parity
from training.export.proof.selection import Speed
from training.models.cost import Cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config

SCHEMA = json.loads((Path(__file__).parents[2] / "model_repository" / "manifest.schema.json").read_text())
# Exporters did not always write them; artifacts without them are served all the same.
OPTIONAL = {
    ("speed",),
    ("baseline",),
    ("experts_report",),
    ("proved",),
    ("default_controls",),
    ("provenance", "checkpoint"),
    *(("mixture", row, key) for row in (0, 1) for key in ("distinct_sets", "commonest_set_share", "nmi")),
    *(("parity", key) for key in ("compared_boxes", "skippable_experts", "expert_sets", "metric")),
}
# Objects whose keys are names: of files, controls, parameters, outputs and metrics.
NAMED = {
    ("files",),
    ("golden", "controls"),
    ("golden", "params"),
    ("parity", "differences"),
    ("provenance", "metrics"),
}
SETTINGS = (
    Setting(top_k=2, weight_threshold=0.0, metric=0.5, expert_share=0.5, gflops=3.0, ms=9.0),
    Setting(
        top_k=2, weight_threshold=0.3, metric=0.5, expert_share=0.25, gflops=2.5, ms=8.0, same_experts=0.99
    ),
)
WRONG = (None, "", "x", -1, 0.5, 1.5, 33, 10**6, True, [], {}, ["x"], [-1], {"x": 1})
LAYERS = ("p3", "p5")


def exported(folder):
    """Return a manifest with every entry that the schema knows for detection."""
    config = model_config("esmoe-n", ("disc", "ring"), (64, 64))
    config = replace(config, mixtures={f"backbone.{p}": config.mixtures[f"backbone.{p}"] for p in LAYERS})
    (folder / "model.xml").write_bytes(b"")
    (folder / "golden.npz").write_bytes(b"")
    (folder / "experts.json").write_bytes(b"")
    differences = dict.fromkeys(("boxes_xyxy", "scores", "gates", "router_probs"), 1e-6)
    metric = MetricPair("map50_95", 0.5, 0.4)
    evidence = Evidence(
        Golden({}, {"conf": 0.25}, 0.01),
        Parity(8, 4, differences, {}, {}, 1.0, metric, skippable_experts=8, compared_boxes=40),
        Cost(4.0, {f"backbone.{place}": (0.1,) * 4 for place in LAYERS}),
        measured(BY_ORIGIN, (1, 1, 1, 9, 9, 9), LAYERS),
        Speed(0.9, 9.0, 10.0, "a small one"),
        choice=Choice(RoutingControls(2, 0.3), "fewest", "tiny train", 64, "map50_95", SETTINGS),
    )
    return build_manifest(
        Identity("tiny", "openvino", "1"),
        Detector(config),
        (GraphSpec("sparse", "graph"), "f32"),
        evidence,
        Provenance("0" * 64, "arithmetic", {"scenes_map50": 1.0}, "Made by the tests."),
        sorted(folder.iterdir()),
    )


def classifying(detecting):
    """Return the manifest changed to task `classify`."""
    document = copy.deepcopy(detecting)
    images, *_ = document["inputs"]
    images["resize"] = {"mode": "center_crop", "interpolation": "bilinear"}
    boxes, _, _, *routing = document["outputs"]
    probabilities = {**boxes, "name": "probabilities", "dims": ["B", 2], "role": "probabilities"}
    document["outputs"] = [probabilities, *routing]
    document |= {"task": "classify", "task_settings": {"defaults": {"top": 2}}}
    document["golden"]["params"] = {}
    document["parity"]["differences"] = {"probabilities": 1e-6}
    document["parity"]["metric"]["name"] = "top1"
    return document


MORE_OUTPUTS = {
    "segment": {"mask_coefficients": ["B", 252, 32], "prototypes": ["B", 32, 16, 16]},
    "pose": {"keypoints": ["B", 252, 3, 3]},
    "obb": {"angles": ["B", 252]},
}
MORE_SETTINGS = {
    "segment": {"mask_stride": 4, "prototypes": 32},
    "pose": {"keypoints": ["nose", "left eye", "right eye"], "skeleton": [[0, 1], [0, 2]]},
    "obb": {},
}


def finding_more(detecting, task):
    """Return the manifest changed to a task that adds outputs and settings to those of detection."""
    document = copy.deepcopy(detecting)
    rows, boxes = MORE_OUTPUTS[task], document["outputs"][0]
    for role, dims in rows.items():
        sizes = [boxes["dims"][1] if size == 252 else size for size in dims]
        document["outputs"].append({**boxes, "name": role, "role": role, "dims": sizes})
    document["task"] = task
    document["task_settings"] |= MORE_SETTINGS[task]
    return document


@pytest.fixture(scope="module", params=["detect", "classify", *MORE_OUTPUTS])
def manifest(request, tmp_path_factory):
    document = exported(tmp_path_factory.mktemp("artifact"))
    if request.param in MORE_OUTPUTS:
        return finding_more(document, request.param)
    return document if request.param == "detect" else classifying(document)


def places(node, path=()):
    """Yield the path of every value in a document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(document, path, change):
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return document


def schema_accepts(document):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def service_says(document):
    """Return the service's error message, or None if it accepts the manifest."""
    try:
        parse_manifest(json.dumps(document).encode(), "manifest.json")
    except ArtifactBroken as error:
        return str(error)
    return None


def test_both_accept_a_whole_manifest(manifest):
    assert schema_accepts(manifest)
    assert service_says(manifest) is None


def test_both_refuse_a_manifest_that_lacks_any_key(manifest):
    for path in places(manifest):
        if path and isinstance(path[-1], str):
            document = changed(manifest, path, lambda parent, key: parent.pop(key))
            if path in OPTIONAL:
                assert schema_accepts(document)
                assert service_says(document) is None
                continue
            assert not schema_accepts(document) or path[:-1] in NAMED, path
            if not schema_accepts(document):
                assert service_says(document), path


def test_both_refuse_an_unknown_key_in_any_object(manifest):
    for path in places(manifest):
        document = changed(manifest, (*path, "zz"), lambda parent, key: None)
        node = document
        for key in path:
            node = node[key]
        if isinstance(node, dict) and path not in NAMED - {("files",)}:
            node["zz"] = 1
            assert not schema_accepts(document), path
            assert service_says(document), path


def test_the_service_refuses_what_the_schema_refuses_and_also_contradictory_numbers(manifest):
    for path in places(manifest):
        for wrong in WRONG if path else ():
            document = changed(
                manifest, path, lambda parent, key, wrong=wrong: parent.__setitem__(key, wrong)
            )
            sentence = service_says(document)
            if not schema_accepts(document):
                assert sentence, (path, wrong)
            elif sentence:  # the schema cannot compare two numbers; the service does
                assert "Value error" in sentence, (path, wrong, sentence)


def test_every_key_of_the_schema_is_in_the_test_manifest(manifest):
    optional = {"speed", "baseline", "proved", "default_controls", "experts_report"}
    every = set(SCHEMA["required"]) | optional
    assert set(SCHEMA["properties"]) - {"paths"} == every == set(manifest)  # paths: test_path_manifest
    parity = SCHEMA["properties"]["parity"]
    assert set(parity["properties"]) == set(manifest["parity"])
    choice = SCHEMA["properties"]["default_controls"]["oneOf"][1]["properties"]
    assert set(choice) == set(manifest["default_controls"])
    assert set(choice["measured"]["items"]["properties"]) == set(manifest["default_controls"]["measured"][0])
    layer = SCHEMA["properties"]["mixture"]["items"]
    assert set(layer["properties"]) == set(manifest["mixture"][0])


def test_manifests_that_lie_in_the_repository_are_still_read():
    paths = sorted((Path(__file__).parents[2] / "model_repository").glob("*/*/manifest.json"))
    assert paths
    for path in paths:
        assert schema_accepts(json.loads(path.read_text())), path
        assert parse_manifest(path.read_bytes(), str(path))

"""The service and the JSON schema accept and refuse the same manifests."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken
from tests.builders import build_artifact

SCHEMA = json.loads((Path(__file__).parents[2] / "model_repository" / "manifest.schema.json").read_text())
# Exporters did not always write them; artefacts without them are served all the same.
OPTIONAL = {
    ("speed",),
    ("baseline",),
    *(("mixture", row, key) for row in (0, 1) for key in ("distinct_sets", "commonest_set_share", "nmi")),
    *(("parity", key) for key in ("compared_boxes", "skippable_experts", "expert_sets", "map50_95")),
}
WRONG = (None, "", "x", -1, 0.5, 1.5, 33, 10**6, True, [], {}, ["x"], [-1], {"x": 1})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return build_artifact(tmp_path_factory.mktemp("repository")).manifest


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
    """Return None if the service accepts it, else its sentence."""
    try:
        parse_manifest(json.dumps(document).encode(), "manifest.json")
    except ArtifactBroken as error:
        return str(error)
    return None


def test_both_accept_a_whole_manifest(manifest):
    assert schema_accepts(manifest)
    assert service_says(manifest) is None


def test_both_refuse_a_manifest_without_any_one_key(manifest):
    for path in places(manifest):
        if path and isinstance(path[-1], str):
            document = changed(manifest, path, lambda parent, key: parent.pop(key))
            if path in OPTIONAL:
                assert schema_accepts(document)
                assert service_says(document) is None
                continue
            assert not schema_accepts(document) or path[0] in {"files", "provenance"}, path
            if not schema_accepts(document):
                assert service_says(document), path


def test_both_refuse_an_unknown_key_in_any_object(manifest):
    for path in places(manifest):
        document = changed(manifest, (*path, "zz"), lambda parent, key: None)
        node = document
        for key in path:
            node = node[key]
        if isinstance(node, dict) and path != ("provenance", "metrics"):
            node["zz"] = 1
            assert not schema_accepts(document), path
            assert service_says(document), path


def test_what_the_schema_refuses_the_service_refuses_and_what_more_it_refuses_does_not_add_up(manifest):
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
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) | {"speed", "baseline"} == set(manifest)
    parity = SCHEMA["properties"]["parity"]
    assert set(parity["properties"]) == set(manifest["parity"])
    layer = SCHEMA["properties"]["mixture"]["items"]
    assert set(layer["properties"]) == set(manifest["mixture"][0])


def test_manifests_that_lie_in_the_repository_are_still_read():
    paths = sorted((Path(__file__).parents[2] / "model_repository").glob("*/*/manifest.json"))
    assert paths
    for path in paths:
        assert schema_accepts(json.loads(path.read_text())), path
        assert parse_manifest(path.read_bytes(), str(path))

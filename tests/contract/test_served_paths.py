"""The service and the JSON schema accept and refuse the same manifests of models with paths."""

import copy

import pytest

from tests.contract.test_manifest import OPTIONAL, WRONG, changed, places, schema_accepts, service_says
from tests.path_artifacts import build_paths

# Objects of a manifest whose keys are names.
NAMED = {("files",), ("golden", "controls"), ("golden", "params"), ("parity", "differences")}
NAMED |= {("provenance", "metrics"), *(("baseline", "routing", "settings", place) for place in (0, 1))}
OPTIONAL_HERE = {*OPTIONAL, ("baseline", "routing"), *(("graphs", row, "weights") for row in range(1, 7))}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return build_paths(tmp_path_factory.mktemp("paths")).manifest


def test_both_accept_a_whole_manifest(manifest):
    assert schema_accepts(manifest)
    assert service_says(manifest) is None


def test_both_refuse_a_manifest_that_lacks_any_key_or_has_another_one(manifest):
    for path in places(manifest):
        node = manifest
        for key in path:
            node = node[key]
        if isinstance(node, dict) and path not in NAMED:
            document = changed(manifest, (*path, "zz"), lambda parent, key: parent.__setitem__(key, 1))
            assert not schema_accepts(document), path
            assert service_says(document), path
        if path and isinstance(path[-1], str) and path[:-1] not in NAMED and path not in OPTIONAL_HERE:
            document = changed(manifest, path, lambda parent, key: parent.pop(key))
            assert service_says(document), path
            assert path == ("paths",) or not schema_accepts(document), path


def test_the_service_refuses_what_the_schema_refuses_and_also_contradictory_numbers(manifest):
    for path in [path for path in places(manifest) if path[:1] == ("paths",)]:
        for wrong in WRONG:
            document = changed(
                manifest, path, lambda parent, key, wrong=wrong: parent.__setitem__(key, copy.deepcopy(wrong))
            )
            sentence = service_says(document)
            if not schema_accepts(document):
                assert sentence, (path, wrong)
            elif sentence:
                assert "Value error" in sentence, (path, wrong, sentence)

"""A manifest in a Triton model configuration is accepted only if its sha256 is right."""

import hashlib

import pytest

from service.backends.triton.catalog import manifest_in
from service.errors import ArtifactBroken


@pytest.fixture
def text(tiny):
    return (tiny.folder / "manifest.json").read_text()


def parameters(text, version="1"):
    return {
        f"manifest.{version}": text,
        f"sha256.{version}": hashlib.sha256(text.encode()).hexdigest(),
    }


def test_the_manifest_and_its_sha256_are_those_of_the_file(text, artifact):
    manifest, sha256 = manifest_in(parameters(text), "tiny-openvino", "1")
    assert (manifest, sha256) == (artifact.manifest, artifact.sha256)


def test_a_model_of_somebody_else_is_left_alone(text):
    assert manifest_in({}, "tiny-openvino", "1") is None
    assert manifest_in(parameters(text), "tiny-openvino", "2") is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda held: held.update({"manifest.1": held["manifest.1"] + " "}), "its configuration has"),
        (lambda held: held.pop("sha256.1"), "its configuration has None"),
    ],
)
def test_a_manifest_that_does_not_fit_its_sha256_is_refused(text, change, sentence):
    held = parameters(text)
    change(held)
    with pytest.raises(ArtifactBroken, match=sentence):
        manifest_in(held, "tiny-openvino", "1")


@pytest.mark.parametrize(
    ("model", "version"), [("other-openvino", "1"), ("tiny-onnx", "1"), ("tiny-openvino", "3")]
)
def test_a_manifest_under_another_name_target_or_version_is_refused(text, model, version):
    with pytest.raises(ArtifactBroken, match="its manifest is of tiny-openvino version 1"):
        manifest_in(parameters(text, version), model, version)


def test_a_manifest_that_breaks_the_contract_is_refused(text):
    with pytest.raises(ArtifactBroken, match="variant"):
        manifest_in(parameters(text.replace('"variant"', '"varient"')), "tiny-openvino", "1")

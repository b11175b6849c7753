"""Which artifacts are found, and which are refused."""

import shutil

import pytest

from service.artifact.repository import find_artifacts, read_artifact
from service.errors import ArtifactBroken, ArtifactMissing
from tests.builders import build_artifact, write_manifest
from tests.path_artifacts import build_paths


@pytest.fixture
def built(tmp_path):
    return build_artifact(tmp_path / "repository")


def copy_version(built, version):
    folder = built.folder.parent / version
    shutil.copytree(built.folder, folder)
    write_manifest(folder, built.manifest | {"version": version})
    return folder


def test_the_highest_number_is_served_not_the_last_name(built):
    copy_version(built, "9")
    copy_version(built, "10")
    (artifact,) = find_artifacts(built.repository, "openvino").values()
    assert artifact.manifest.version == "10"


def test_hidden_folders_and_other_files_are_ignored(built):
    shutil.copytree(built.folder, built.folder.parent / ".2.partial")
    shutil.copytree(built.folder.parent, built.repository / ".other-openvino")
    (built.folder.parent / "config.pbtxt").write_text("")
    (built.repository / "README.md").write_text("")
    (artifact,) = find_artifacts(built.repository, "openvino").values()
    assert artifact.folder == built.folder


def test_another_target_is_not_found(built):
    with pytest.raises(ArtifactMissing, match="no model for target 'onnx'"):
        find_artifacts(built.repository, "onnx")


def test_a_repository_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactMissing, match="nowhere is not a folder"):
        find_artifacts(tmp_path / "nowhere", "openvino")


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "golden.npz"])
def test_one_changed_byte_is_refused(built, name):
    path = built.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactBroken, match=f"{name} has sha256"):
        read_artifact(built.folder)


def test_one_changed_byte_of_weights_that_routes_share_is_refused(tmp_path):
    built = build_paths(tmp_path)
    path = built.folder / "weights.bin"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactBroken, match=r"weights\.bin has sha256"):
        read_artifact(built.folder)


def test_a_missing_file_is_refused(built):
    (built.folder / "model.bin").unlink()
    with pytest.raises(ArtifactBroken, match=r"model\.bin cannot be read"):
        read_artifact(built.folder)


def test_a_broken_model_has_its_error_and_the_others_are_found(built):
    build_artifact(built.repository, name="other")
    build_artifact(built.repository, name="third")
    (built.folder.parent / "2").mkdir()
    (built.repository / "third-openvino" / "1" / "manifest.json").write_text("{")
    found = find_artifacts(built.repository, "openvino")
    assert list(found) == ["other", "third", "tiny"]
    assert found["other"].manifest.name == "other"
    assert "manifest.json cannot be read" in str(found["tiny"])
    assert "manifest.json" in str(found["third"])


def test_a_folder_in_the_wrong_place_is_refused(built):
    moved = built.folder.parent / "7"
    built.folder.rename(moved)
    with pytest.raises(ArtifactBroken, match="belongs in tiny-openvino/1"):
        read_artifact(moved)

"""The reference of a model reads other files than the audited backend, if the repository has such files."""

import asyncio
import shutil
from dataclasses import replace

import pytest

from service.artifact.repository import read_artifact
from service.audits import reference as module
from service.audits.reference import NoReferenceError, References, find_candidates
from service.settings import Settings
from service.traffic.routes import ServedVersion
from tests.audit_builders import build_faulty
from tests.builders import build_artifact, build_classifier, write_manifest
from tests.integration.service.test_operation import break_golden


def served(built, backend="openvino"):
    artifact = read_artifact(built.folder)
    return ServedVersion(backend, artifact.manifest, artifact.sha256, backend=None)


def candidates(repository, preferred, **audit):
    found = find_candidates(Settings(repository=repository, audit=audit), preferred)
    return [(one.engine, one.manifest.target, one.manifest.version) for one in found]


def opened(repository, preferred, **audit):
    """Return the reference's version, and whether it reads the same files; it is closed again."""

    async def go():
        references = References(Settings(repository=repository, audit=audit))
        try:
            found = await references.of(preferred)
            assert await references.of(preferred) is found  # it is opened once
            version = found.candidate.manifest.version
            return version, found.has_weights_of(preferred.manifest), found.is_copy
        finally:
            await references.close()

    return asyncio.run(go())


def test_alone_in_the_repository_an_artifact_is_its_own_reference_and_says_so(tmp_path):
    built = build_artifact(tmp_path)
    assert candidates(tmp_path, served(built)) == [("openvino", "openvino", "1")]
    assert opened(tmp_path, served(built)) == ("1", True, True)


def test_an_export_of_the_same_checkpoint_with_other_files_comes_first(tmp_path):
    good, bad = build_artifact(tmp_path), build_faulty(tmp_path, version="2")
    assert opened(tmp_path, served(bad)) == ("1", False, False)
    assert opened(tmp_path, served(good)) == ("2", False, False)


def test_triton_s_reference_is_the_same_artifact_in_this_process(tmp_path):
    built = build_artifact(tmp_path)
    assert opened(tmp_path, served(built, "triton")) == ("1", True, False)


def test_the_most_exact_export_comes_before_another_engine(tmp_path):
    bad = build_faulty(tmp_path, version="3", changes={"precision": "int8"})
    build_faulty(tmp_path, factor=0.5, version="2", changes={"precision": "int8"})
    build_artifact(tmp_path)
    found = candidates(tmp_path, served(bad))
    assert [version for _, _, version in found] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"provenance": {"checkpoint_sha256": "1" * 64}}, id="another checkpoint"),
        pytest.param({"class_names": ["red", "green", "yellow"]}, id="other classes"),
        pytest.param({"routing": "static"}, id="other routing"),
    ],
)
def test_another_model_is_no_reference(tmp_path, change):
    built = build_artifact(tmp_path)
    other = build_artifact(tmp_path, version="2")
    changed = {
        name: other.manifest[name] | value if isinstance(value, dict) else value
        for name, value in change.items()
    }
    write_manifest(other.folder, other.manifest | changed)
    assert candidates(tmp_path, served(built)) == [("openvino", "openvino", "1")]


def test_a_reference_that_fails_its_own_golden_sample_is_passed_over(tmp_path):
    built = build_artifact(tmp_path)
    break_golden(build_faulty(tmp_path, version="2"))
    assert opened(tmp_path, served(built)) == ("1", True, True)


def test_a_broken_manifest_and_a_folder_that_is_no_version_are_passed_over(tmp_path):
    built = build_artifact(tmp_path)
    shutil.copytree(built.folder, built.folder.parent / "old")
    (built.folder.parent / "2").mkdir()
    (built.folder.parent / "2" / "manifest.json").write_text("{")
    assert candidates(tmp_path, served(built)) == [("openvino", "openvino", "1")]


def test_a_model_that_is_not_in_the_repository_has_no_reference_and_the_reason_says_what_to_do(tmp_path):
    built = build_artifact(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    with pytest.raises(NoReferenceError, match=r"export the same checkpoint .* --name tiny --target onnx"):
        opened(tmp_path / "here", served(built, "triton"))


def test_a_chosen_engine_that_can_run_no_export_gives_no_reference(tmp_path):
    built = build_artifact(tmp_path)
    assert candidates(tmp_path, served(built), reference="onnx") == []
    with pytest.raises(NoReferenceError):
        opened(tmp_path, served(built), reference="onnx")


def test_an_engine_that_is_not_installed_is_not_tried(tmp_path, monkeypatch):
    built = build_artifact(tmp_path)
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    assert candidates(tmp_path, served(built)) == []


def test_a_new_version_gets_a_new_reference_and_the_old_one_is_freed(tmp_path):
    good, bad = build_artifact(tmp_path), build_faulty(tmp_path, version="2")

    async def go():
        references = References(Settings(repository=tmp_path))
        first = await references.of(served(bad))
        second = await references.of(served(good))
        assert first.candidate.manifest.version == "1"
        assert second.candidate.manifest.version == "2"
        assert references.known("tiny") is second
        assert not hasattr(first.backend, "_compiled")
        await references.close()
        assert references.known("tiny") is None

    asyncio.run(go())


def test_a_reference_that_could_not_be_opened_is_tried_again_after_a_minute(tmp_path, monkeypatch):
    built = build_artifact(tmp_path)
    preferred, now = served(built, "triton"), [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    hidden = tmp_path / "hidden"
    built.folder.rename(hidden)

    async def go():
        references = References(Settings(repository=tmp_path))
        with pytest.raises(NoReferenceError):
            await references.of(preferred)
        hidden.rename(built.folder)
        now[0] = 59.0
        with pytest.raises(NoReferenceError):
            await references.of(preferred)
        now[0] = 60.0
        assert (await references.of(preferred)).candidate.manifest.version == "1"
        await references.close()

    asyncio.run(go())


def test_controls_that_the_reference_does_not_take_are_named(tmp_path):
    built = build_artifact(tmp_path)

    async def go():
        references = References(Settings(repository=tmp_path))
        preferred = served(built)
        reference = await references.of(preferred)
        await references.close()
        assert reference.why_not(preferred, {"top_k": 2, "weight_threshold": 0.5}) == ""
        assert "controls" in reference.why_not(preferred, {"top_k": 5, "weight_threshold": 0.5})
        assert "controls" in reference.why_not(preferred, {})
        classifier = read_artifact(build_classifier(tmp_path / "other").folder).manifest
        assert "checkpoint" in reference.why_not(replace(preferred, manifest=classifier), {})

    asyncio.run(go())

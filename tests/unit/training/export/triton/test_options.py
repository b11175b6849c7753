"""Triton options that cannot work are refused, and unreadable files are named."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.manifests import of_version_1
from training.__main__ import main
from training.errors import ConfigError, ExportError
from training.export.artifact.stored_manifest import read_manifests
from training.export.targets.tensorrt_plan import how_to_build_the_plan
from training.export.triton.config import TritonOptions, upgrade_manifests, write_all_configs

STARTER = Path(__file__).parents[5] / "model_repository" / "starter-openvino" / "1" / "manifest.json"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, 0) for name in ("instances", "max_queue", "max_batch", "threads")),
        ("instances", -1),
        ("instances", 1.5),
        ("instances", True),
        ("max_queue", 10_001),
        *(("queue_timeout_s", wrong) for wrong in (0, -1.0, float("nan"), float("inf"), 3601)),
        *(("batch_delay_s", wrong) for wrong in (-0.001, float("nan"), 1.5)),
        ("device", "GPU"),
    ],
)
def test_an_option_outside_its_limits_is_refused_by_name(name, wrong):
    with pytest.raises(ConfigError, match=f"^{name}="):
        TritonOptions(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("instances", 1),
        ("max_queue", 10_000),
        ("queue_timeout_s", 1e-6),
        ("batch_delay_s", 0),
        ("threads", None),
    ],
)
def test_the_limits_themselves_are_allowed(name, right):
    assert getattr(TritonOptions(**{name: right}), name) == right


def store(repository, target="openvino", version="1", **changes):
    """Write a manifest alone; nothing else of an artifact is needed for Triton's files."""
    manifest = {**json.loads(STARTER.read_text()), "target": target, "version": version, **changes}
    folder = repository / f"{manifest['name']}-{target}" / version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def inputs_of(hw):
    """Return the starter's inputs at another size."""
    images, *controls = json.loads(STARTER.read_text())["inputs"]
    return [{**images, "dims": ["B", *hw, 3]}, *controls]


def test_a_batch_larger_than_the_artifact_can_do_is_refused_and_nothing_is_written(tmp_path):
    store(tmp_path, "tensorrt", batch=[1, 2, 4])
    store(tmp_path)
    with pytest.raises(ConfigError, match="max_batch=8: starter-tensorrt takes at most 4 images at once"):
        write_all_configs(tmp_path, TritonOptions())
    assert not list(tmp_path.rglob("config.pbtxt"))
    assert not list(tmp_path.glob(".staging-*"))
    write_all_configs(tmp_path, TritonOptions(max_batch=4))
    assert len(list(tmp_path.rglob("config.pbtxt"))) == 6


def test_a_graph_for_several_images_at_once_stands_without_the_steps_that_take_one(tmp_path):
    folder = store(tmp_path, "tensorrt", batch=[4]).parent
    write_all_configs(tmp_path, TritonOptions())
    assert [path.parent for path in tmp_path.rglob("config.pbtxt")] == [folder]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["starter-tensorrt"]


def test_versions_for_one_image_and_for_several_do_not_mix(tmp_path):
    store(tmp_path, "tensorrt", batch=[1, 2])
    store(tmp_path, "tensorrt", "2", batch=[4])
    with pytest.raises(ConfigError, match="export a fixed batch under another --name"):
        write_all_configs(tmp_path, TritonOptions(max_batch=2))
    assert not list(tmp_path.rglob("config.pbtxt"))


def test_versions_of_two_tasks_do_not_mix(tmp_path):
    store(tmp_path)
    probabilities = {"name": "probabilities", "dtype": "f32", "dims": ["B", 16], "role": "probabilities"}
    outputs = [{**probabilities, "tolerance": {"absolute": 1e-4, "relative": 0}}]
    classifier = {"task": "classify", "task_settings": {"defaults": {"top": 5}}, "outputs": outputs}
    store(tmp_path, version="2", mixture=[], **classifier)
    with pytest.raises(
        ConfigError, match="has versions for other tasks; export this one under another --name"
    ):
        write_all_configs(tmp_path, TritonOptions())
    assert not list(tmp_path.rglob("config.pbtxt"))


def test_what_was_written_before_gives_way_to_what_is_asked_for_now(tmp_path):
    folder = store(tmp_path).parent
    write_all_configs(tmp_path, TritonOptions(instances=7), name="starter")
    assert "count: 7" in (folder / "config.pbtxt").read_text()
    (folder / "1" / "model.plan").write_text("built here")
    write_all_configs(tmp_path, TritonOptions(), name="starter")
    assert "count: 2" in (folder / "config.pbtxt").read_text()
    assert (folder / "1" / "model.plan").read_text() == "built here"


def test_one_model_is_written_and_the_others_are_left_alone(tmp_path):
    store(tmp_path)
    store(tmp_path, name="other")
    assert write_all_configs(tmp_path, TritonOptions(), name="other") == [tmp_path / "other-openvino"]
    assert not (tmp_path / "starter-openvino" / "config.pbtxt").exists()


def old_manifest(repository, version="1"):
    """Write the starter's manifest as an exporter of version 1 left it, under another name."""
    document = of_version_1(json.loads(STARTER.read_text())) | {"name": "old", "version": version}
    path = repository / "old-openvino" / version / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))
    return path


def test_old_manifests_are_configured_as_they_are_and_travel_byte_for_byte(tmp_path):
    path = old_manifest(tmp_path)
    before = path.read_bytes()
    write_all_configs(tmp_path, TritonOptions())
    (stored,) = read_manifests(tmp_path / "old-openvino")
    assert path.read_bytes() == stored.text == before
    assert stored.sha256 == hashlib.sha256(before).hexdigest()
    assert stored.content["schema_version"] == 2
    config = (tmp_path / "old-openvino" / "config.pbtxt").read_text()
    assert stored.sha256 in config
    assert 'name: "images"' in config


def test_manifests_are_upgraded_when_that_is_asked_for_and_only_once(tmp_path, capsys):
    path = old_manifest(tmp_path)
    content = read_manifests(tmp_path / "old-openvino")[0].content
    new = store(tmp_path) / "manifest.json"
    untouched = new.read_bytes()
    command = ["triton-config", "--repository", str(tmp_path), "--upgrade-manifests"]
    assert main(command) == 0
    assert json.loads(path.read_text()) == content
    assert new.read_bytes() == untouched
    assert capsys.readouterr().out.splitlines()[0] == f"upgraded {path}"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in (tmp_path / "old-openvino" / "config.pbtxt").read_text()
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("wrote ")
    assert not list(tmp_path.rglob("*.partial"))


def test_one_broken_manifest_and_none_is_upgraded(tmp_path):
    path = old_manifest(tmp_path)
    before = path.read_bytes()
    broken = old_manifest(tmp_path, "2")
    broken.write_text(broken.read_text().replace('"conf"', '"confidence"'))
    with pytest.raises(ExportError, match="manifest entry 'golden': Additional properties"):
        upgrade_manifests(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"{"), "is not JSON in UTF-8"),
        (lambda path: path.write_bytes(STARTER.read_text().encode("utf-16")), "is not JSON in UTF-8"),
        (lambda path: path.write_text("[]"), "manifest entry ''"),
        (
            lambda path: path.write_text(path.read_text().replace('"mixture"', '"mixtures"')),
            "manifest entry ''",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"version": "1"', '"version": "2"')),
            "says that it is version 2 of starter-openvino",
        ),
    ],
)
def test_a_broken_manifest_is_named_and_nothing_is_written(tmp_path, damage, message):
    path = store(tmp_path) / "manifest.json"
    damage(path)
    with pytest.raises(ExportError, match=message) as error:
        write_all_configs(tmp_path, TritonOptions())
    assert str(path) in str(error.value)
    assert not list(tmp_path.rglob("config.pbtxt"))


def test_a_model_that_is_not_there_is_one_line_and_1(capsys, tmp_path):
    assert main(["triton-config", "--repository", str(tmp_path), "--name", "gone"]) == 1
    assert capsys.readouterr().err == f"training: {tmp_path} holds no version of gone\n"


def test_the_command_writes_with_the_options_given_and_names_the_folders(capsys, tmp_path):
    folder = store(tmp_path).parent
    options = ["--instances", "3", "--max-queue", "9", "--queue-timeout", "0.5", "--threads", "1"]
    assert main(["triton-config", "--repository", str(tmp_path), *options]) == 0
    assert capsys.readouterr().out == f"wrote {folder}, starter-openvino-nms and starter-openvino-detect\n"
    config = (folder / "config.pbtxt").read_text()
    for part in ("count: 3", "max_queue_size: 9", "default_timeout_microseconds: 500000"):
        assert part in config
    assert main(["triton-config", "--repository", str(tmp_path), "--queue-timeout", "0"]) == 1


def test_the_plan_is_built_for_every_batch_in_full_precision(tmp_path):
    sized = {"inputs": inputs_of((384, 512)), "batch": list(range(1, 9))}
    sentence = how_to_build_the_plan(store(tmp_path, "tensorrt", **sized, precision="f32"))
    assert "--minShapes=images:1x384x512x3,top_k:1x1,weight_threshold:1x1 " in sentence
    assert "--maxShapes=images:8x384x512x3,top_k:8x1,weight_threshold:8x1" in sentence
    assert "--noTF32" in sentence
    assert "Triton cannot load" in sentence

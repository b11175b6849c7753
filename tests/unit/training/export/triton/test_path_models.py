"""For a model with paths, Triton gets a model for each graph, which shares the artifact's files."""

import hashlib
import shutil

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.builders import build_artifact, write_manifest
from tests.path_artifacts import build_paths
from training.__main__ import main
from training.errors import ConfigError, ExportError
from training.export.triton.config import TritonOptions, write_all_configs
from training.export.triton.text import HEADING

GRAPHS = ["router", *(f"path{path}-k{top_k}" for path in range(3) for top_k in (1, 2))]
IMAGES = {"images": ("TYPE_UINT8", [1, 64, 64, 3])}
FOUND = {"boxes": [1, 4, 4], "scores": [1, 4], "class_ids": [1, 4]}
FILLED = {"gates": [1, 2, 4], "router_probs": [1, 2, 4], "path_probs": [1, 3]}


def configured(repository, model):
    """Return a model's configuration as Triton parses it."""
    text = (repository / model / "config.pbtxt").read_text(encoding="ascii")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.name == model
    return config


def sizes(tensors):
    return {tensor.name: list(tensor.dims) for tensor in tensors}


def rewritten(built, **changes):
    """Write the manifest of an artifact again."""
    (built.folder / "manifest.json").unlink()
    write_manifest(built.folder, built.manifest | changes)


def tree(repository):
    return sorted(str(path.relative_to(repository)) for path in repository.rglob("*"))


def test_every_graph_is_a_model_that_takes_only_images(tmp_path):
    built = build_paths(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=3, max_queue=9, threads=2))
    sha256 = hashlib.sha256((built.folder / "manifest.json").read_bytes()).hexdigest()
    for graph in GRAPHS:
        config = configured(tmp_path, f"routed-openvino-{graph}")
        assert (config.backend, config.default_model_filename) == ("openvino", f"{graph}.xml")
        assert config.max_batch_size == 0
        assert sizes(config.input) == {"images": [1, 64, 64, 3]}
        assert sizes(config.output) == ({"path_probs": [1, 3]} if graph == "router" else FOUND)
        assert config.instance_group[0].count == 3
        assert config.dynamic_batching.default_queue_policy.max_queue_size == 9
        stated = {name: value.string_value for name, value in config.parameters.items()}
        assert stated["sha256.1"] == sha256
        assert "manifest.1" not in stated, "there are many graphs, and a manifest is large"
        assert (stated["INFERENCE_NUM_THREADS"], stated["INFERENCE_PRECISION_HINT"]) == ("2", "f32")


def test_the_router_stays_in_float32(tmp_path):
    rewritten(build_paths(tmp_path), precision="bf16")
    write_all_configs(tmp_path, TritonOptions())
    hints = {
        graph: configured(tmp_path, f"routed-openvino-{graph}")
        .parameters["INFERENCE_PRECISION_HINT"]
        .string_value
        for graph in GRAPHS
    }
    assert hints == {graph: "f32" if graph == "router" else "bf16" for graph in GRAPHS}


def test_the_model_that_direct_clients_ask_has_the_manifest_s_tensors(tmp_path):
    built = build_paths(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=3))
    config = configured(tmp_path, "routed-openvino")
    assert (config.backend, config.default_model_filename) == ("python", "model.py")
    assert sizes(config.input) == {"images": [1, 64, 64, 3], "top_k": [1, 1]}
    assert sizes(config.output) == {**FOUND, **FILLED}
    assert config.instance_group[0].count == 3
    text = config.parameters["manifest.1"].string_value
    assert text.encode() == (built.folder / "manifest.json").read_bytes()
    assert (built.folder / "model.py").is_file()
    detect = configured(tmp_path, "routed-openvino-detect")
    assert sizes(detect.output).items() >= FILLED.items()
    inputs = set(sizes(configured(tmp_path, "routed-openvino-nms").input))
    assert inputs == {*FOUND, "gates", "top_k", "conf", "iou", "max_det"}


def test_batches_are_gathered_for_each_graph_and_not_before_it_is_known(tmp_path):
    build_paths(tmp_path, target="tensorrt", batch=range(1, 9))
    write_all_configs(tmp_path, TritonOptions(max_batch=6, batch_delay_s=0.003))
    for graph in GRAPHS:
        config = configured(tmp_path, f"routed-tensorrt-{graph}")
        assert (config.backend, config.default_model_filename) == ("tensorrt", f"{graph}.plan")
        assert (config.max_batch_size, sizes(config.input)) == (6, {"images": [64, 64, 3]})
        assert list(config.dynamic_batching.preferred_batch_size) == [3, 6]
        assert config.dynamic_batching.max_queue_delay_microseconds == 3000
        assert {each.batch_size for each in config.model_warmup} == {1, 6}
        assert "INFERENCE_PRECISION_HINT" not in config.parameters
    asking = configured(tmp_path, "routed-tensorrt")
    assert (asking.max_batch_size, sizes(asking.input)["top_k"]) == (6, [1])
    assert asking.dynamic_batching.max_queue_delay_microseconds == 0
    assert not asking.model_warmup
    with pytest.raises(ConfigError, match="max_batch=9: routed-tensorrt takes at most 8 images at once"):
        write_all_configs(tmp_path, TritonOptions(max_batch=9))


@pytest.mark.parametrize(
    ("target", "endings"), [("openvino", (".xml", ".bin")), ("onnx", (".onnx",)), ("tensorrt", (".plan",))]
)
def test_weights_are_stored_once(tmp_path, target, endings):
    batch = range(1, 9) if target == "tensorrt" else (1,)
    built = build_paths(tmp_path, target=target, batch=batch, shared=False)
    write_all_configs(tmp_path, TritonOptions())
    for graph in GRAPHS:
        links = {path.name: path for path in (tmp_path / f"routed-{target}-{graph}" / "1").iterdir()}
        assert set(links) == {f"{graph}{ending}" for ending in endings}
        for name, link in links.items():
            assert link.is_symlink()
            assert link.resolve() == built.folder / name  # a plan is built later, beside its graph


def test_weights_that_routes_share_have_the_name_that_triton_looks_for(tmp_path):
    earlier = build_paths(tmp_path, shared=False).folder
    built = build_paths(tmp_path, version="2").folder
    write_all_configs(tmp_path, TritonOptions())
    for graph in GRAPHS:
        assert configured(tmp_path, f"routed-openvino-{graph}").default_model_filename == f"{graph}.xml"
        links = {
            path.name: path.resolve() for path in (tmp_path / f"routed-openvino-{graph}" / "2").iterdir()
        }
        weights = "router.bin" if graph == "router" else "weights.bin"
        assert links == {f"{graph}.xml": built / f"{graph}.xml", f"{graph}.bin": built / weights}
        assert (tmp_path / f"routed-openvino-{graph}" / "1" / f"{graph}.bin").resolve().parent == earlier


def test_the_command_says_what_it_wrote_and_can_be_repeated(tmp_path, capsys):
    build_paths(tmp_path)
    command = ["triton-config", "--repository", str(tmp_path), "--instances", "1"]
    assert main(command) == 0
    whole = "routed-openvino"
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {tmp_path / whole}, {whole}-nms and {whole}-detect",
        f"wrote {whole}-router, and {whole}-path0-k1 and 5 further routes",
    ]
    before = tree(tmp_path)
    assert main(command) == 0
    assert tree(tmp_path) == before


def test_a_model_whose_graph_is_gone_is_removed_and_nothing_else_is(tmp_path):
    build_paths(tmp_path)
    second = build_paths(tmp_path, version="2")
    others = build_artifact(tmp_path, name="routed-openvino-router").folder.parent
    (tmp_path / "routed-openvino-path9-k9").mkdir()
    (tmp_path / "routed-openvino-path9-k9" / "config.pbtxt").write_text('name: "by hand"')
    write_all_configs(tmp_path, TritonOptions())
    stale = tmp_path / "routed-openvino-path9-k1"
    shutil.copytree(tmp_path / "routed-openvino-path0-k1", stale, symlinks=True)
    assert (stale / "config.pbtxt").read_text().startswith(HEADING)
    before = tree(tmp_path)
    shutil.rmtree(second.folder)
    write_all_configs(tmp_path, TritonOptions(), name="routed")
    gone = set(before) - set(tree(tmp_path))
    left = {path for path in before if path.startswith(f"{others.name}/") or "path9-k9" in path}
    assert left
    assert not left & gone
    of_version_2 = {path for path in before if path.split("/")[1:2] == ["2"]}
    assert gone == of_version_2 | {path for path in before if path.startswith(stale.name)}


@pytest.mark.parametrize(("name", "others"), [(None, True), (None, False), ("routed", True)])
def test_models_of_graphs_go_with_their_artifact(tmp_path, name, others):
    gone = build_paths(tmp_path)
    for each in ("kept", "also") if others else ():
        build_paths(tmp_path, name=each)
    write_all_configs(tmp_path, TritonOptions())
    graphs = {path.name for path in tmp_path.iterdir() if not path.name.endswith(("-nms", "-detect"))}
    shutil.rmtree(gone.folder.parent)
    if others:
        write_all_configs(tmp_path, TritonOptions(), name="also")
        assert (tmp_path / "routed-openvino-router").is_dir(), "the command was for another model"
    write_all_configs(tmp_path, TritonOptions(), name=name)
    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith(("-nms", "-detect"))}
    assert left == {each for each in graphs if not each.startswith("routed-")}
    with pytest.raises(ExportError, match="holds no version of routed"):
        write_all_configs(tmp_path, TritonOptions(), name="routed")


def test_a_version_without_a_graph_is_no_version_of_its_model(tmp_path):
    build_paths(tmp_path)
    second = build_paths(tmp_path, version="2")
    routes = [
        route | {"top_k": 3 if route["top_k"] == 2 else 1} for route in second.manifest["paths"]["routes"]
    ]
    for each in (*routes, *second.manifest["graphs"]):
        for key in ("graph", "name", "file"):
            if key in each:
                each[key] = each[key].replace("-k2", "-k3")
    paths = second.manifest["paths"] | {"routes": routes}
    rewritten(second, paths=paths)
    write_all_configs(tmp_path, TritonOptions())
    versions = {
        graph: sorted(
            path.name for path in (tmp_path / f"routed-openvino-{graph}").iterdir() if path.is_dir()
        )
        for graph in ("router", "path0-k1", "path0-k2", "path0-k3")
    }
    assert versions == {"router": ["1", "2"], "path0-k1": ["1", "2"], "path0-k2": ["1"], "path0-k3": ["2"]}


def test_versions_with_and_without_paths_do_not_mix(tmp_path):
    build_paths(tmp_path)
    build_artifact(tmp_path, name="routed", version="2")
    with pytest.raises(
        ConfigError, match="routed-openvino has versions with and without paths; export one un"
    ):
        write_all_configs(tmp_path, TritonOptions())
    assert not list(tmp_path.rglob("config.pbtxt"))


def test_versions_of_two_precisions_are_not_served_at_once(tmp_path):
    build_paths(tmp_path)
    second = build_paths(tmp_path, version="2")
    write_all_configs(tmp_path, TritonOptions())
    for part in ("", "-router"):
        config = configured(tmp_path, f"routed-openvino{part}")
        assert config.version_policy.latest.num_versions == 2
    rewritten(second, precision="bf16")
    write_all_configs(tmp_path, TritonOptions())
    for part in ("", "-router"):
        config = configured(tmp_path, f"routed-openvino{part}")
        assert config.version_policy.latest.num_versions == 1

"""Triton's parser reads from config.pbtxt the values that the exporter meant."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.artifact.manifest import parse_manifest
from training.export.artifact.stored_manifest import StoredManifest
from training.export.graph.export_graph import graph_contract
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.targets import TARGETS, graph_spec
from training.export.tasks.tasks import export_task
from training.export.triton.config import TritonOptions, write_all_configs
from training.export.triton.text import detect_config, model_config, nms_config
from training.models.variants import model_config as model_config_of
from training.skeleton import Skeleton

REPOSITORY = Path(__file__).parents[2] / "model_repository"


COMMITTED = json.loads((REPOSITORY / "starter-openvino" / "1" / "manifest.json").read_bytes())
MODEL = model_config_of("sparsight-n", ("RBC", "WBC", "Platelets"), (384, 512))
FOUR = replace(MODEL, mixtures={place: MODEL.mixtures[place] for place in list(MODEL.mixtures)[:4]})
ODD_NAMES = ['"quoted"', "back\\slash", "line\nbreak", "tab\there", "naïve", "细胞", "🩸", "\\303", "'", "?"]


def manifest(target="openvino", version=1, config=FOUR, options=USUAL, **changes):
    """Return the starter's manifest with the tensors of another model's export."""
    spec = graph_spec(target, bool(config.mixtures), options)
    contract = graph_contract(config, spec)
    content = COMMITTED | {
        "target": target,
        "version": str(version),
        "precision": options.precision,
        "execution": spec.execution,
        "class_names": list(config.class_names),
        "mixture": COMMITTED["mixture"][: len(config.mixtures)],
        "batch": list(contract.batch),
        "inputs": [each.row() for each in contract.inputs],
        "outputs": [each.row() for each in contract.outputs],
        "task": config.task,
        "task_settings": export_task(config).settings(spec),
    }
    if target != "openvino":
        content["files"] = dict.fromkeys(("golden.npz", "model.onnx"), 64 * "0")
        content["graphs"] = [{"name": "model", "file": "model.onnx"}]
    content |= changes
    return StoredManifest(version, json.dumps(content, indent=2, ensure_ascii=False).encode())


def parsed(text):
    """Return the configuration as Triton parses it; the file must be ASCII, even if the manifest is not."""
    assert text.isascii()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(config_tensors):
    return {
        tensor.name: (model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims))
        for tensor in config_tensors
    }


CONTROLS = {"top_k": ("TYPE_INT64", [1, 1]), "weight_threshold": ("TYPE_FP32", [1, 1])}
ROUTING = {"gates": ("TYPE_FP32", [1, 4, 4]), "router_probs": ("TYPE_FP32", [1, 4, 4])}
THRESHOLDS = {"conf": ("TYPE_FP32", [1]), "iou": ("TYPE_FP32", [1]), "max_det": ("TYPE_INT32", [1])}
DETECTIONS = {
    "boxes": ("TYPE_FP32", [-1, 4]),
    "scores": ("TYPE_FP32", [-1]),
    "class_ids": ("TYPE_INT32", [-1]),
}


def test_openvino_takes_one_image_of_exact_size_on_the_cpu():
    config = parsed(model_config([manifest()], TritonOptions()))
    assert (config.name, config.backend, config.max_batch_size) == ("starter-openvino", "openvino", 0)
    assert config.default_model_filename == "model.xml"
    assert tensors(config.input) == {"images": ("TYPE_UINT8", [1, 384, 512, 3]), **CONTROLS}
    assert tensors(config.output) == {
        "boxes": ("TYPE_FP32", [1, 1000, 4]),
        "scores": ("TYPE_FP32", [1, 1000]),
        "class_ids": ("TYPE_INT32", [1, 1000]),
        **ROUTING,
    }
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    assert config.parameters["PERFORMANCE_HINT"].string_value == "LATENCY"
    assert config.parameters["NUM_STREAMS"].string_value == "1"
    assert not {"INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING"} & set(config.parameters)
    assert config.version_policy.latest.num_versions == 2
    pinned = parsed(model_config([manifest()], TritonOptions(pin_threads=True)))
    assert pinned.parameters["ENABLE_CPU_PINNING"].string_value == "YES"


def test_a_small_model_has_no_more_candidates_than_pairs_of_anchor_and_class():
    """A 64 × 64 input has 64 + 16 + 4 anchors; with three classes, these are 252 pairs."""
    small = replace(FOUR, input_hw=(64, 64))
    config = parsed(model_config([manifest(config=small)], TritonOptions()))
    assert tensors(config.output)["scores"] == ("TYPE_FP32", [1, 252])


def test_onnx_selects_in_the_graph_and_runs_in_onnxruntime_whatever_the_device():
    config = parsed(model_config([manifest("onnx")], TritonOptions(threads=3, device="NPU")))
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert tensors(config.output)["scores"] == ("TYPE_FP32", [1, 1000])
    assert config.parameters["intra_op_thread_count"].string_value == "3"


def test_npu_returns_every_anchor_and_runs_in_onnxruntime_or_on_an_npu_by_openvino():
    config = parsed(model_config([manifest("npu")], TritonOptions(threads=3)))
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "model.onnx")
    assert tensors(config.output) == {
        "boxes": ("TYPE_FP32", [1, 4032, 4]),
        "class_scores": ("TYPE_FP32", [1, 4032, 3]),
        **ROUTING,
    }
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    npu = parsed(model_config([manifest("npu")], TritonOptions(device="NPU")))
    assert (npu.backend, npu.default_model_filename) == ("openvino", "model.onnx")
    assert npu.parameters["TARGET_DEVICE"].string_value == "NPU"
    sparse = parsed(model_config([manifest()], TritonOptions(device="NPU", threads=3)))
    assert "TARGET_DEVICE" not in sparse.parameters, "a graph with branches stays on the CPU"
    assert sparse.parameters["INFERENCE_NUM_THREADS"].string_value == "3"


def test_tensorrt_gathers_batches_and_is_warmed_up_at_both_ends():
    config = parsed(model_config([manifest("tensorrt")], TritonOptions(instances=1, batch_delay_s=0.0005)))
    assert (config.backend, config.max_batch_size) == ("tensorrt", 8)
    assert config.default_model_filename == "model.plan"
    without_batch = {"top_k": ("TYPE_INT64", [1]), "weight_threshold": ("TYPE_FP32", [1])}
    assert tensors(config.input) == {"images": ("TYPE_UINT8", [384, 512, 3]), **without_batch}
    assert tensors(config.output)["boxes"] == ("TYPE_FP32", [1000, 4])
    assert tensors(config.output)["gates"] == ("TYPE_FP32", [4, 4])
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8]
    assert batching.max_queue_delay_microseconds == 500
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    warmup = {each.batch_size: each.inputs for each in config.model_warmup}
    assert set(warmup) == {1, 8}
    for inputs in warmup.values():
        assert {name: list(value.dims) for name, value in inputs.items()} == {
            "images": [384, 512, 3],
            "top_k": [1],
            "weight_threshold": [1],
        }
        assert all(value.zero_data for value in inputs.values())


def test_a_fixed_batch_comes_with_each_request_and_is_warmed_up_as_it_is():
    fixed = manifest("tensorrt", options=ExportOptions(fixed_batch=4, precision="f16"))
    config = parsed(model_config([fixed], TritonOptions(max_batch=8)))
    assert (config.backend, config.max_batch_size) == ("tensorrt", 0)
    assert tensors(config.input) == {
        "images": ("TYPE_UINT8", [4, 384, 512, 3]),
        "top_k": ("TYPE_INT64", [4, 1]),
        "weight_threshold": ("TYPE_FP32", [4, 1]),
    }
    assert tensors(config.output) == {
        "boxes": ("TYPE_FP32", [4, 1000, 4]),
        "scores": ("TYPE_FP32", [4, 1000]),
        "class_ids": ("TYPE_INT32", [4, 1000]),
        "gates": ("TYPE_FP32", [4, 4, 4]),
        "router_probs": ("TYPE_FP32", [4, 4, 4]),
    }
    assert not config.dynamic_batching.preferred_batch_size
    (warmup,) = config.model_warmup
    assert (warmup.batch_size, list(warmup.inputs["images"].dims)) == (1, [4, 384, 512, 3])


def test_half_precision_changes_nothing_of_what_goes_in_and_comes_out():
    full, half = (
        parsed(model_config([manifest("tensorrt", options=ExportOptions(precision=p))], TritonOptions()))
        for p in ("f32", "f16")
    )
    assert tensors(full.input) == tensors(half.input)
    assert tensors(full.output) == tensors(half.output)


@pytest.mark.parametrize("target", TARGETS)
def test_the_queue_is_bounded_in_length_and_time_for_every_target(target):
    options = TritonOptions(max_queue=5, queue_timeout_s=0.25)
    for text in (model_config([manifest(target)], options), nms_config([manifest(target)], options)):
        policy = parsed(text).dynamic_batching.default_queue_policy
        assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
        assert policy.default_timeout_microseconds == 250_000
        assert policy.allow_timeout_override
        assert policy.max_queue_size == 5


@pytest.mark.parametrize("target", TARGETS)
def test_the_ensemble_takes_one_image_and_gives_detections_and_routing(target):
    config = parsed(detect_config([manifest(target)]))
    name = f"starter-{target}"
    assert (config.name, config.platform, config.max_batch_size) == (f"{name}-detect", "ensemble", 0)
    assert tensors(config.input) == {"images": ("TYPE_UINT8", [1, 384, 512, 3]), **CONTROLS, **THRESHOLDS}
    assert tensors(config.output) == {**DETECTIONS, **ROUTING}
    graph, nms = config.ensemble_scheduling.step
    assert (graph.model_name, graph.model_version) == (name, -1)
    assert (nms.model_name, nms.model_version) == (f"{name}-nms", -1)


def of_task(task):
    """Return the configuration of a network for a task, with two keypoints for poses."""
    skeleton = Skeleton(names=("nose", "tail"), flip_ids=(0, 1)) if task == "pose" else None
    return replace(FOUR, task=task, skeleton=skeleton)


FURTHER = {
    "segment": {"masks": ("TYPE_STRING", [-1])},
    "pose": {"keypoints": ("TYPE_FP32", [-1, -1, 3])},
    "obb": {"corners": ("TYPE_FP32", [-1, 4, 2])},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("task", FURTHER)
def test_the_ensemble_gives_finished_masks_keypoints_and_corners(task, target):
    stored = [manifest(target, config=of_task(task))]
    assert tensors(parsed(detect_config(stored)).output) == {**DETECTIONS, **FURTHER[task], **ROUTING}
    nms = parsed(nms_config(stored, TritonOptions()))
    assert tensors(nms.output) == {**DETECTIONS, **FURTHER[task]}
    read = {
        "segment": {
            "mask_coefficients": ("TYPE_FP32", [1, -1, -1]),
            "prototypes": ("TYPE_FP16", [1, -1, -1, -1]),
        },
        "pose": {"keypoints": ("TYPE_FP32", [1, -1, -1, -1])},
        "obb": {"angles": ("TYPE_FP32", [1, -1])},
    }[task]
    assert read.items() <= tensors(nms.input).items()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("task", ["detect", *FURTHER])
def test_every_step_of_the_ensemble_gets_the_inputs_of_its_model(task, target):
    """Each input of a step is an input of the ensemble or an output of an earlier step."""
    options, stored = TritonOptions(), [manifest(target, config=of_task(task))]
    models = {
        config.name: config
        for config in (parsed(model_config(stored, options)), parsed(nms_config(stored, options)))
    }
    ensemble = parsed(detect_config(stored))
    known = {tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = models[step.model_name]
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) == {tensor.name for tensor in model.output}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert {tensor.name for tensor in ensemble.output} <= known


def test_a_model_without_a_mixture_has_neither_controls_nor_gates():
    plain = manifest(config=replace(FOUR, mixtures={}))
    config = parsed(model_config([plain], TritonOptions()))
    assert [tensor.name for tensor in config.input] == ["images"]
    assert [tensor.name for tensor in config.output] == ["boxes", "scores", "class_ids"]
    ensemble = parsed(detect_config([plain]))
    assert tensors(ensemble.input) == {"images": ("TYPE_UINT8", [1, 384, 512, 3]), **THRESHOLDS}
    assert tensors(ensemble.output) == DETECTIONS


@pytest.mark.parametrize("target", ["openvino", "npu"])
def test_layers_of_unequal_width_are_padded_to_the_widest(target):
    modular = model_config_of("modular-n", ("RBC", "WBC", "Platelets"), (384, 512))
    unequal = manifest(target, config=modular)
    assert [mixture.num_experts for mixture in modular.mixtures.values()] == [4, 8, 16]
    padded = {"gates": ("TYPE_FP32", [1, 3, 16]), "router_probs": ("TYPE_FP32", [1, 3, 16])}
    for config in (model_config([unequal], TritonOptions()), detect_config([unequal])):
        assert padded.items() <= tensors(parsed(config).output).items()


def test_manifests_arrive_byte_for_byte_with_their_sha256_and_the_service_can_read_them():
    """Only class names can contain any text."""
    odd = replace(MODEL, class_names=tuple(ODD_NAMES))
    stored = [manifest(version=version, config=odd) for version in (3, 12)]
    for text in (
        model_config(stored, TritonOptions()),
        nms_config(stored, TritonOptions()),
        detect_config(stored),
    ):
        parameters = parsed(text).parameters
        for each in stored:
            arrived = parameters[f"manifest.{each.version}"].string_value.encode()
            assert arrived == each.text
            assert parameters[f"sha256.{each.version}"].string_value == hashlib.sha256(arrived).hexdigest()
            assert list(parse_manifest(arrived, "manifest").class_names) == ODD_NAMES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "no end of line",
        "a\r\nb\rc\n",
        '"\\"\\\\n',
        "\x00\x01\x7f7",
        "é7\u2028",
        "".join(map(chr, range(512))),
    ],
)
def test_any_text_survives(text):
    content = manifest().content | {"provenance": COMMITTED["provenance"] | {"attribution": text}}
    stored = StoredManifest(1, json.dumps(content, ensure_ascii=False).encode())
    arrived = parsed(detect_config([stored])).parameters["manifest.1"].string_value
    assert arrived.encode() == stored.text
    assert json.loads(arrived)["provenance"]["attribution"] == text


def test_if_tensors_change_only_the_new_version_is_served():
    fewer = replace(FOUR, input_hw=(64, 64))
    other_classes = manifest(version=2, config=fewer)
    config = parsed(model_config([manifest(), other_classes], TritonOptions()))
    assert config.version_policy.latest.num_versions == 1
    third = manifest(version=3, config=fewer)
    config = parsed(model_config([manifest(), other_classes, third], TritonOptions()))
    assert config.version_policy.latest.num_versions == 2, "the first version is out of reach anyway"
    assert "manifest.1" in config.parameters


def test_the_committed_files_are_what_the_command_writes(tmp_path):
    folders = [path.parents[1].name for path in REPOSITORY.glob("*/*/manifest.json")]
    for folder in folders:
        version = tmp_path / folder / "1"
        version.mkdir(parents=True)
        (version / "manifest.json").write_bytes((REPOSITORY / folder / "1" / "manifest.json").read_bytes())
    write_all_configs(tmp_path, TritonOptions())
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 10 * len(folders) > 0
    for path in written:
        assert (REPOSITORY / path).read_bytes() == (tmp_path / path).read_bytes(), path

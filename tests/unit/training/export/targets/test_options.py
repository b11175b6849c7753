"""Export options that a target, a model or this machine cannot satisfy are refused."""

from dataclasses import replace

import pytest

from training.errors import ConfigError, ExportError
from training.export.contract.precision import TOLERANCES
from training.export.contract.spec import GraphSpec
from training.export.proof.openvino_engine import check_precision
from training.export.targets.options import ExportOptions
from training.export.targets.targets import DEFAULT_TARGETS, TARGETS, check_options, graph_spec, target_of
from training.models.variants import MixtureChoice, model_config

MIXED = model_config("esmoe-n", ("disc", "ring"), (64, 64))
PATHS = model_config("sparsight-path-n", ("disc", "ring"), (64, 64))
PLAIN = model_config("yolov12-n", ("disc", "ring"), (64, 64))


def with_mixtures(config, **changes):
    return replace(
        config, mixtures={place: replace(each, **changes) for place, each in config.mixtures.items()}
    )


@pytest.mark.parametrize(
    ("targets", "options", "config", "sentence"),
    [
        (["openvino", "onnx"], {"precision": "int8"}, MIXED, "target onnx comes in f32, not in int8"),
        (["cuda"], {}, MIXED, "there is no target 'cuda'; choose from openvino, onnx, npu, tensorrt"),
        (["openvino"], {"precision": "f16"}, MIXED, "export that with --target tensorrt alone"),
        (["npu"], {"execution": "sparse"}, MIXED, "execution sparse is for targets openvino and onnx"),
        (["openvino"], {"execution": "sparse"}, PLAIN, "models with mixtures: leave out --execution"),
        (["openvino"], {"fixed_batch": 4}, MIXED, "for target tensorrt alone"),
        (["tensorrt"], {"fixed_batch": 4}, PLAIN, "models with mixtures: leave out --batch"),
        (["tensorrt"], {"fixed_batch": 4}, model_config("ultra-n", ("a",), (64, 64)), "ultra-n has others"),
        (["tensorrt"], {"fixed_batch": 4}, model_config("moehead-n", ("a",), (64, 64)), "has others"),
        (["openvino", "npu"], {"experts": "shared"}, MIXED, "for target npu: add --target npu"),
        (["openvino"], {"execution": "sparse"}, PATHS, "--execution sparse is not for models with paths"),
        (["tensorrt"], {"fixed_batch": 4}, PATHS, "--batch 4 is not for models with paths"),
        (["openvino"], {"default_top_k": 1}, PATHS, "--top-k 1 is not for models with paths"),
        (["onnx"], {"default_threshold": 0.1}, PATHS, "--weight-threshold 0.1 is not for models with paths"),
        (["onnx"], {}, with_mixtures(PATHS, top_k=0), "has top_k 0 and threshold 0"),
        (["onnx"], {}, with_mixtures(PATHS, weight_threshold=0.2), "has top_k 2 and threshold 0.2"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(targets, options, config, sentence):
    with pytest.raises(ConfigError) as caught:
        check_options(targets, ExportOptions(**options), config)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("openvino", {}, GraphSpec("sparse", "graph")),
        ("openvino", {"execution": "dense"}, GraphSpec("dense", "graph")),
        ("openvino", {"precision": "bf16"}, GraphSpec("sparse", "graph", ports="bf16")),
        ("openvino", {"precision": "int8"}, GraphSpec("sparse", "graph", branches="per_expert")),
        ("onnx", {}, GraphSpec("sparse", "graph", branches="per_expert")),
        ("onnx", {"execution": "dense"}, GraphSpec("dense", "graph", branches="per_expert")),
        ("npu", {}, GraphSpec("dense", "service")),
        ("tensorrt", {}, GraphSpec("dense", "graph", max_batch=8)),
        ("tensorrt", {"fixed_batch": 4}, GraphSpec("sparse", "graph", fixed_batch=4)),
    ],
)
def test_the_graph_follows_the_options(target, options, expected):
    assert graph_spec(target, has_mixture=True, options=ExportOptions(**options)) == expected


def test_every_target_is_known_by_its_own_name_and_no_other_is():
    assert [target_of(name).name for name in TARGETS] == list(TARGETS)
    assert set(DEFAULT_TARGETS) < set(TARGETS)
    with pytest.raises(ConfigError, match="there is no target 'cuda'"):
        graph_spec("cuda", has_mixture=True)


def test_every_precision_has_a_tolerance_and_float32_none_for_experts():
    able = [target_of(name).precisions for name in TARGETS]
    assert {precision for precisions in able for precision in precisions} == set(TOLERANCES)
    assert all(precisions[0] == "f32" for precisions in able)
    assert TOLERANCES["f32"].expert_sets == 1
    assert TOLERANCES["int8"].expert_sets >= 0.98
    assert TOLERANCES["int8"].metric <= 0.005


@pytest.mark.parametrize(
    ("options", "least"),
    [({"calibration_images": 1}, 2), ({"calibration_images": 0}, 2), ({"fixed_batch": 0}, 1)],
)
def test_numbers_that_make_no_sense_are_refused(options, least):
    with pytest.raises(ConfigError, match=f"is not a whole number from {least}"):
        ExportOptions(**options)


def test_a_fixed_batch_needs_an_expert_to_gather():
    none = model_config("sparsight-n", ("disc",), (64, 64), MixtureChoice(top_k=0))
    with pytest.raises(ConfigError, match="which is 0 here: leave out --batch"):
        check_options(["tensorrt"], ExportOptions(fixed_batch=4), none)


def test_a_fixed_batch_needs_simple_experts_of_one_shape():
    config = model_config("sparsight-n", ("disc",), (64, 64))
    uneven = {place: replace(each, kernel_sizes=(3, 3, 3, 5)) for place, each in config.mixtures.items()}
    with pytest.raises(ConfigError, match="equal simple ones"):
        check_options(["tensorrt"], ExportOptions(fixed_batch=4), replace(config, mixtures=uneven))


def test_bf16_is_refused_where_the_processor_lacks_it():
    check_precision("bf16", ["FP32", "BF16"])
    with pytest.raises(ExportError, match="this CPU does not compute in bf16"):
        check_precision("bf16", ["FP32", "INT8"])
    check_precision("f32", ["FP32"])

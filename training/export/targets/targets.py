"""Look targets up by name, and check that they support the options of an export."""

from collections.abc import Sequence
from typing import get_args

from training.config import HEAD_PLACES, MixtureConfig, ModelConfig
from training.errors import ConfigError
from training.export.contract.spec import GraphSpec, TargetName
from training.export.graph.int8 import check_nncf
from training.export.proof.openvino_engine import check_precision, cpu_capabilities
from training.export.targets.npu import NPU
from training.export.targets.onnx import ONNX
from training.export.targets.openvino import OPENVINO
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.target import Target
from training.export.targets.tensorrt import TENSORRT
from training.export.tasks.tasks import export_task
from training.models.mixture.dynamic import mixes_for_each_image

TARGETS: tuple[TargetName, ...] = get_args(TargetName)
# Any CPU runs these. npu and tensorrt need hardware that most machines lack, and each takes another trace
# (npu: 24 s beside 124 s, sparsight-n on two busy cores).
DEFAULT_TARGETS: tuple[TargetName, ...] = ("openvino", "onnx")


def target_of(name: str) -> Target:
    """Return the target with this name.

    Raises:
        ConfigError: there is no target of this name.
    """
    match name:
        case "openvino":
            return OPENVINO
        case "onnx":
            return ONNX
        case "npu":
            return NPU
        case "tensorrt":
            return TENSORRT
        case _:
            raise ConfigError(f"there is no target {name!r}; choose from {', '.join(TARGETS)}")


def graph_spec(target: str, has_mixture: bool, options: ExportOptions = USUAL) -> GraphSpec:
    """Return the form of a target's graph; raise ConfigError for an unknown target."""
    return target_of(target).spec(has_mixture, options)


def check_options(targets: Sequence[str], options: ExportOptions, config: ModelConfig) -> None:
    """Check options before anything is traced.

    Raises:
        ConfigError: a target or the model does not support an option.
        ExportError: the precision is int8 and NNCF is not installed, or the precision is bf16 and this CPU
            cannot compute in bf16.
    """
    export_task(config)
    if mixes_for_each_image(config):
        raise ConfigError(
            f"{config.variant} has dynamic experts, which no target supports: their kernels differ between "
            "images. Train it with --expert simple, or a variant with paths, to export it"
        )
    asked = [target_of(name) for name in targets]
    for target in asked:
        if options.precision not in target.precisions:
            others = [each for each in TARGETS if options.precision in target_of(each).precisions]
            raise ConfigError(
                f"target {target.name} comes in {', '.join(target.precisions)}, not in {options.precision}; "
                f"export that with --target {others[0]} alone, under a name of its own"
            )
    able = config.mixtures and any(target.chooses_execution for target in asked)
    if options.execution == "sparse" and not able:
        raise ConfigError(
            "execution sparse is for targets openvino and onnx, and models with mixtures: "
            "leave out --execution"
        )
    if options.experts == "shared" and not all(target.shared_alone for target in asked):
        raise ConfigError("a graph with shared experts only is for target npu: add --target npu")
    if config.paths is not None and options.experts == "all":
        _check_paths(options, config)
    elif options.fixed_batch is not None:
        _check_fixed_batch(asked, config)
    check_precision(options.precision, cpu_capabilities())
    if options.precision == "int8":
        check_nncf()


def _check_fixed_batch(asked: Sequence[Target], config: ModelConfig) -> None:
    if not (all(target.fixes_batch for target in asked) and config.mixtures):
        raise ConfigError(
            "a fixed batch is for target tensorrt alone and models with mixtures: leave out --batch"
        )
    if not all(place not in HEAD_PLACES and _gatherable(each) for place, each in config.mixtures.items()):
        raise ConfigError(
            "a fixed batch picks weights for each image, of depthwise experts or equal simple ones with "
            f"batch norm; {config.variant} has others: leave out --batch"
        )
    if config.top_k == 0:
        raise ConfigError(
            "a fixed batch computes the default number of experts, which is 0 here: leave out --batch"
        )


def _check_paths(options: ExportOptions, config: ModelConfig) -> None:
    """Raise ConfigError for options that do not apply to graphs of paths, which hold fixed experts."""
    given = {
        "--execution": "sparse" if options.execution == "sparse" else None,
        "--batch": options.fixed_batch,
        "--top-k": options.default_top_k,
        "--weight-threshold": options.default_threshold,
    }
    for flag, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{flag} {value} is not for models with paths, whose graphs hold the experts that run for "
                f"the trained top_k {config.top_k}: leave it out"
            )
    if any(place in HEAD_PLACES for place in config.mixtures):
        raise ConfigError(f"{config.variant} has paths through its head, which cannot be exported")
    if config.top_k == 0 or config.weight_threshold > 0:
        raise ConfigError(
            f"{config.variant} has top_k {config.top_k} and threshold {config.weight_threshold:g}; models "
            "with paths are exported with a top_k of at least 1 and without a threshold"
        )


def _gatherable(mixture: MixtureConfig) -> bool:
    equal = mixture.expert == "simple" and len(set(mixture.kernel_sizes)) == 1
    return mixture.norm == "batch" and (mixture.expert == "depthwise" or equal)


def compared_top_ks(config: ModelConfig, spec: GraphSpec) -> list[int]:
    """Return the values of top_k at which a graph is compared with its checkpoint, in ascending order.

    The lowest and the highest value that the graph allows are always included: the graph skips the most
    experts at the lowest value, and the fewest at the highest. The values 1 and 2, the default, and each
    layer's number of experts are included if the graph allows them.
    """
    every = spec.top_ks(config)
    sizes = (mixture.num_experts for mixture in config.mixtures.values())
    return sorted({every[0], every[-1], *({1, 2, config.top_k, *sizes} & set(every))})

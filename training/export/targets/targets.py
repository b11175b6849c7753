"""Which targets there are, and what of an export's options they follow or refuse."""

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

TARGETS: tuple[TargetName, ...] = get_args(TargetName)


def target_of(name: str) -> Target:
    """Return a target by its name.

    Raises:
        ConfigError: there is none of this name.
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


# What any CPU runs. npu and tensorrt need hardware that most machines lack: there they would be models that
# nobody loads, at the price of another trace (npu: 24 s beside 124 s, sparsight-n on two busy cores).
DEFAULT_TARGETS: tuple[TargetName, ...] = tuple(name for name in TARGETS if target_of(name).default)


def graph_spec(target: str, has_mixture: bool, options: ExportOptions = USUAL) -> GraphSpec:
    """Return the form of a target's graph; raises ConfigError for an unknown target."""
    return target_of(target).spec(has_mixture, options)


def check_options(targets: Sequence[str], options: ExportOptions, config: ModelConfig) -> None:
    """Find out early what cannot be done.

    Raises:
        ConfigError: a target or the model cannot do what is asked.
        ExportError: this machine lacks what it takes.
    """
    export_task(config)
    asked = [target_of(name) for name in targets]
    for target in asked:
        if options.precision not in target.precisions:
            able = [each for each in TARGETS if options.precision in target_of(each).precisions]
            raise ConfigError(
                f"target {target.name} comes in {', '.join(target.precisions)}, not in {options.precision}; "
                f"export that with --target {able[0]} alone, under a name of its own"
            )
    if options.execution == "sparse" and not (
        any(target.chooses_execution for target in asked) and config.mixtures
    ):
        raise ConfigError(
            "execution sparse is for targets openvino and onnx, and models with mixtures: "
            "leave out --execution"
        )
    if options.experts == "shared" and not all(target.shared_alone for target in asked):
        raise ConfigError("a graph with shared experts only is for target npu: add --target npu")
    if options.fixed_batch is not None:
        _check_fixed_batch(asked, config)
    check_precision(options.precision, cpu_capabilities())
    if options.precision == "int8":
        check_nncf()


def _check_fixed_batch(asked: Sequence[Target], config: ModelConfig) -> None:
    if not (all(target.fixes_batch for target in asked) and config.mixtures):
        raise ConfigError(
            "a fixed batch is for target tensorrt alone and models with mixtures: leave out --batch"
        )
    if not _gatherable(config):
        raise ConfigError(
            "a fixed batch picks weights for each image, of depthwise experts or equal simple ones with "
            f"batch norm; {config.variant} has others: leave out --batch"
        )
    if config.top_k == 0:
        raise ConfigError(
            "a fixed batch computes the default number of experts, which is 0 here: leave out --batch"
        )


def _gatherable(config: ModelConfig) -> bool:
    layers = {place: m for place, m in config.mixtures.items() if place not in HEAD_PLACES}
    return len(layers) == len(config.mixtures) and all(
        mixture.norm == "batch" and (mixture.expert == "depthwise" or _equal_and_simple(mixture))
        for mixture in layers.values()
    )


def _equal_and_simple(mixture: MixtureConfig) -> bool:
    return mixture.expert == "simple" and len(set(mixture.kernel_sizes)) == 1


def compared_top_ks(config: ModelConfig, spec: GraphSpec) -> list[int]:
    """Return the fewest and the most experts, where between them a layer runs out, and the default.

    At the fewest nearly every expert is skipped, at the most every one runs.
    """
    every = spec.top_ks(config)
    turns = {1, 2, config.top_k, *(mixture.num_experts for mixture in config.mixtures.values())}
    return sorted({every[0], every[-1], *(top_k for top_k in turns if top_k in every)})

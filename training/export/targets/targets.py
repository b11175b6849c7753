"""What each target can do, and what of an export's options it follows or refuses."""

from collections.abc import Sequence

from training.config import HEAD_PLACES, MixtureConfig, ModelConfig
from training.errors import ConfigError
from training.export.graph.export_graph import GraphSpec, Target
from training.export.graph.int8 import check_nncf
from training.export.graph.precision import PRECISIONS
from training.export.proof.engine import check_precision, cpu_capabilities
from training.export.targets.options import USUAL, ExportOptions

TARGETS: tuple[Target, ...] = ("openvino", "onnx", "tensorrt")
# Without tensorrt: on a machine without an NVIDIA GPU it would be a model that Triton cannot load.
DEFAULT_TARGETS: tuple[Target, ...] = ("openvino", "onnx")
MAX_BATCH = 8  # of target tensorrt


def graph_spec(target: Target, has_mixture: bool, options: ExportOptions = USUAL) -> GraphSpec:
    """What each target can do.

    The CPU skips experts, unless told not to; a static graph computes all and selects nothing; a batch on a
    GPU computes all, or, if its size is fixed, gathers the weights of those that were chosen.
    """
    match target:
        case "openvino":
            return GraphSpec(
                "sparse" if has_mixture and options.execution != "dense" else "dense",
                "graph",
                # The weights of experts that are gathered at run time cannot be quantised beforehand.
                branches="per_expert" if options.precision == "int8" else "best",
                ports="bf16" if options.precision == "bf16" else "f32",
            )
        case "onnx":
            return GraphSpec("dense", "service")
        case "tensorrt" if options.fixed_batch is not None:
            return GraphSpec("sparse", "graph", fixed_batch=options.fixed_batch)
        case "tensorrt":
            return GraphSpec("dense", "graph", max_batch=MAX_BATCH)


def check_options(targets: Sequence[Target], options: ExportOptions, config: ModelConfig) -> None:
    """Find out early what cannot be done.

    Raises:
        ConfigError: a target or the model cannot do what is asked.
        ExportError: this machine lacks what it takes.
    """
    for target in targets:
        if options.precision not in PRECISIONS[target]:
            able = [each for each in TARGETS if options.precision in PRECISIONS[each]]
            raise ConfigError(
                f"target {target} comes in {', '.join(PRECISIONS[target])}, not in {options.precision}; "
                f"export that with --target {able[0]} alone, under a name of its own"
            )
    if options.execution == "sparse" and not ("openvino" in targets and config.mixtures):
        raise ConfigError(
            "execution sparse is for target openvino and models with mixtures: leave out --execution"
        )
    if options.fixed_batch is not None and not (set(targets) == {"tensorrt"} and config.mixtures):
        raise ConfigError(
            "a fixed batch is for target tensorrt alone and models with mixtures: leave out --batch"
        )
    if options.fixed_batch is not None and not _gatherable(config):
        raise ConfigError(
            "a fixed batch picks weights for each image, of depthwise experts or equal simple ones with "
            f"batch norm; {config.variant} has others: leave out --batch"
        )
    if options.fixed_batch is not None and config.top_k == 0:
        raise ConfigError(
            "a fixed batch computes the default number of experts, which is 0 here: leave out --batch"
        )
    if options.experts == "shared" and set(targets) != {"onnx"}:
        raise ConfigError("a graph with shared experts only is for target onnx: add --target onnx")
    check_precision(options.precision, cpu_capabilities())
    if options.precision == "int8":
        check_nncf()


def _gatherable(config: ModelConfig) -> bool:
    layers = {place: m for place, m in config.mixtures.items() if place not in HEAD_PLACES}
    return len(layers) == len(config.mixtures) and all(
        mixture.norm == "batch" and (mixture.expert == "depthwise" or _equal_and_simple(mixture))
        for mixture in layers.values()
    )


def _equal_and_simple(mixture: MixtureConfig) -> bool:
    return mixture.expert == "simple" and len(set(mixture.kernel_sizes)) == 1


def compared_top_ks(config: ModelConfig, spec: GraphSpec) -> list[int]:
    """The fewest and the most experts, those between at which a layer runs out of them, and the default.

    At the fewest nearly every expert is skipped, at the most every one runs.
    """
    every = spec.top_ks(config)
    turns = {1, 2, config.top_k, *(mixture.num_experts for mixture in config.mixtures.values())}
    return sorted({every[0], every[-1], *(top_k for top_k in turns if top_k in every)})

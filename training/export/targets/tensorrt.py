"""Target tensorrt: batches on an NVIDIA GPU, from a graph of which a plan is built there."""

from dataclasses import replace
from pathlib import Path

from training.export.contract.spec import GraphSpec
from training.export.graph.half import half_precision
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.targets.build import Built, Source, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.tensorrt_plan import PLAN_FILE
from training.export.targets.triton_options import TritonOptions

MAX_BATCH = 8


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    """Compute all for a batch, or, if its size is fixed, gather the weights of the chosen."""
    if options.fixed_batch is not None:
        return GraphSpec("sparse", "graph", fixed_batch=options.fixed_batch)
    return GraphSpec("dense", "graph", max_batch=MAX_BATCH)


def _build(folder: Path, spec: GraphSpec, source: Source) -> Built:
    if source.options.precision == "f16":
        source = replace(source, model=half_precision(source.model))
    return Built(trace(folder, spec, source), spec, 0)


def _served(options: TritonOptions) -> Served:
    # Without a kind Triton takes a GPU where there is one; told KIND_GPU it refuses where there is none.
    return Served("tensorrt", PLAN_FILE, kind=None)


# No default: on a machine without an NVIDIA GPU it would be a model that Triton cannot load.
TENSORRT = Target(
    name="tensorrt",
    precisions=("f32", "f16"),
    fixes_batch=True,
    spec=_spec,
    build=_build,
    open=OpenVinoEngine,  # a plan can only be tried on its GPU
    served=_served,
    warmed_up=True,  # a plan sets itself up at its first run of each size
)

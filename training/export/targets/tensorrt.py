"""Target tensorrt: batches on an NVIDIA GPU; the plan is built from the graph on that GPU."""

from dataclasses import replace
from pathlib import Path

from training.export.contract.spec import GraphSpec
from training.export.graph.half import half_precision
from training.export.proof.openvino_engine import OpenVinoEngine
from training.export.targets.build import Source, trace
from training.export.targets.options import ExportOptions
from training.export.targets.target import Served, Target
from training.export.targets.tensorrt_plan import PLAN_FILE
from training.export.targets.triton_options import TritonOptions

MAX_BATCH = 8


def _spec(has_mixture: bool, options: ExportOptions) -> GraphSpec:
    """Return the form of the graph: sparse if the batch size is fixed, dense otherwise.

    A sparse graph gathers the weights of the chosen experts; a dense graph runs all experts.
    """
    if options.fixed_batch is not None:
        return GraphSpec("sparse", "graph", fixed_batch=options.fixed_batch)
    return GraphSpec("dense", "graph", max_batch=MAX_BATCH)


def _build(folder: Path, spec: GraphSpec, source: Source) -> Path:
    if source.options.precision == "f16":
        source = replace(source, model=half_precision(source.model))
    return trace(folder, spec, source)


def _served(options: TritonOptions) -> Served:
    # Without a kind, Triton uses a GPU if there is one; with KIND_GPU it refuses to start without a GPU.
    return Served("tensorrt", PLAN_FILE, kind=None)


TENSORRT = Target(
    name="tensorrt",
    precisions=("f32", "f16"),
    fixes_batch=True,
    spec=_spec,
    build=_build,
    open=OpenVinoEngine,  # a plan runs only on its GPU
    served=_served,
    warmed_up=True,  # the first run of each batch size sets up the plan
)

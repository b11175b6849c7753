"""Write the config.pbtxt of the Triton models of a model with paths.

`<name>-<target>-router` and `<name>-<target>-path<P>-k<K>` run one graph each; the service calls them. The
Python model `<name>-<target>` asks them, for clients that call Triton directly. Only this model's parameters
hold the manifests, because a manifest is large and there are many graphs. The parameters of the others hold
the sha256 of their manifest, so that a caller can tell whether they belong to it.
"""

from collections.abc import Sequence
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig as TritonModel

from training.export.artifact.stored_manifest import StoredManifest
from training.export.contract.tensors import GATES, IMAGES, PATH_PROBS, ROUTER_PROBS, Tensor
from training.export.targets.target import Served
from training.export.targets.targets import target_of
from training.export.targets.triton_options import TritonOptions
from training.export.triton.text import (
    Graph,
    add_ports,
    as_text,
    bound_queue,
    fixed_batch,
    graph_model,
    largest_batch,
    newest_of,
    versions_served,
)

ASKING_FILE = "model.py"  # the code of `<name>-<target>`
_FILLED = (GATES, ROUTER_PROBS, PATH_PROBS)  # roles of outputs that no graph of a route returns


def asking_config(manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """Return the config.pbtxt of `<name>-<target>`, which asks the router and then the graphs of the routes.

    Raises:
        ConfigError: max_batch is larger than the artifact supports.
    """
    newest = newest_of(manifests)
    fixed = fixed_batch(newest)
    model = TritonModel(
        name=newest.model_name,
        backend="python",
        default_model_filename=ASKING_FILE,
        max_batch_size=largest_batch(newest, options),
    )
    model.instance_group.add(count=options.instances, kind="KIND_CPU")
    sizes = () if fixed is None else (fixed,)
    add_ports(model.input, newest.inputs, *sizes)
    add_ports(model.output, newest.outputs, *sizes)
    model.version_policy.latest.num_versions = versions_served(manifests)
    bound_queue(model, options)
    # Requests that wait anyway are taken together. The graphs wait for more, so waiting here gains nothing.
    model.dynamic_batching.max_queue_delay_microseconds = 0
    return as_text(model, manifests)


def graph_config(graph: str, manifests: Sequence[StoredManifest], options: TritonOptions) -> str:
    """Return the config.pbtxt of the model that runs one of the graphs.

    Args:
        graph: name of the graph in the manifests.
        manifests: of the versions that have this graph.
        options: how Triton runs the model.

    Raises:
        ConfigError: max_batch is larger than the artifact supports.
    """
    newest = newest_of(manifests)
    is_router = graph == newest.content["paths"]["router"]
    images = [each for each in newest.inputs if each.role == IMAGES]
    outputs = [each for each in newest.outputs if each.role not in _FILLED]
    if is_router:
        outputs = [_router_output(newest)]
    file = next(iter(files_of(graph, newest, options)))
    model = graph_model(Graph(graph_model_name(newest, graph), file, images, outputs), manifests, options)
    served = _served(newest, options)
    if served.backend == "openvino" and options.device == "CPU":
        # The router's graph is in float32 in every precision.
        precision = "bf16" if newest.content["precision"] == "bf16" and not is_router else "f32"
        model.parameters["INFERENCE_PRECISION_HINT"].string_value = precision
    for stored in manifests:
        model.parameters[f"sha256.{stored.version}"].string_value = stored.sha256
    return as_text(model, ())


def graph_model_name(stored: StoredManifest, graph: str) -> str:
    """Return the name of the Triton model that runs a graph of a model with paths."""
    return f"{stored.model_name}-{graph}"


def files_of(graph: str, stored: StoredManifest, options: TritonOptions) -> dict[str, str]:
    """Return the files in the artifact's folder by the names that Triton reads; the graph is first.

    Triton reads the weights of an .xml from the .bin of its name.
    """
    (stated,) = (each for each in stored.content["graphs"] if each["name"] == graph)
    path = Path(stated["file"]).with_suffix(Path(_served(stored, options).file).suffix)
    if path.suffix != ".xml":
        return {path.name: path.name}
    own = path.with_suffix(".bin").name
    return {path.name: path.name, own: stated.get("weights") or own}


def _router_output(stored: StoredManifest) -> Tensor:
    stated = stored.content["paths"]["router_output"]
    return Tensor(stated["name"], "f32", tuple(stated["dims"][1:]), PATH_PROBS)


def _served(stored: StoredManifest, options: TritonOptions) -> Served:
    return target_of(stored.content["target"]).served(options)

"""Quantise the convolutions of OpenVINO graphs to 8 bits, except in routers and other sensitive parts.

NNCF quantises the dense graph, in which every image passes through every expert. Then each convolution of the
sparse graph takes over the 8-bit weights and the value range of its counterpart in the dense graph. If NNCF
quantised the sparse graph itself, it would run the whole graph on every image once for each expert, and each
expert would see only the images for which it was chosen.
"""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as operators

from training.errors import ExportError
from training.progress import hidden
from training.signal_stack import own_signal_stack

# Weights with these parts in their names stay float. The stem reads raw pixels, routers and attention depend
# on small differences, and the heads' last convolutions would have a few bits for each side of a box, for
# a keypoint or an angle. The prototype network is as large as a stage of the backbone: of it, only the last
# convolution stays float.
#
# Stage p2 stays float because its maps are still near the pixels: all channels of a map share one range,
# though the largest values of the channels are 0.7 to 10, and the error reaches every router. In two models
# trained on microscope images, two thirds of the changed experts came from two of its convolutions. In
# float, p2 costs 3 to 8 % of a sparse graph's time (RESULTS.md).
FLOAT_PARTS = (
    ".stem.",
    ".backbone.p2.",
    ".router.",
    ".attention.",
    "model.head.",
    "model.masks.coefficients.",
    "model.masks.prototypes.leave.",
    "model.keypoints.",
    "model.angles.",
)
CONVOLUTIONS = ("Convolution", "GroupConvolution")
# Operators that only move quantised values. All other operators except convolutions stay float.
PASSING = ("Concat", "Interpolate", "Pad", "Reshape", "Split", "Transpose", "VariadicSplit")
SUBSTANCELESS = ("Constant", "If", "Parameter", "Result")
MIN_IMAGES = 2


def check_nncf() -> None:
    """Raise ExportError if NNCF, the library that quantises graphs, is not installed."""
    if importlib.util.find_spec("nncf") is None:
        raise ExportError(
            "precision int8 needs NNCF, which is not installed: in a checkout "
            "`pip install --constraint constraints.txt '.[int8]'`"
        )


def quantize_dense(xml_path: Path, samples: Sequence[Mapping[str, NDArray[Any]]]) -> ov.Model:
    """Return the 8-bit form of a graph without branches.

    Args:
        samples: calibration inputs by name; each sample holds one image.

    Raises:
        ExportError: there are fewer than MIN_IMAGES (2) samples.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    if len(samples) < MIN_IMAGES:
        raise ExportError(
            f"precision int8 is calibrated on images: {MIN_IMAGES} are needed at least, there are "
            f"{len(samples)}. Give more with --data. Nothing was written."
        )
    nncf.set_log_level(40)  # errors
    model = ov.Core().read_model(xml_path)
    progress = io.StringIO() if hidden() else sys.stdout
    with contextlib.redirect_stdout(progress), own_signal_stack():  # NNCF creates plugins of its own
        quantized: ov.Model = nncf.quantize(
            model,
            nncf.Dataset(list(samples)),
            preset=nncf.QuantizationPreset.MIXED,  # weights symmetric; SiLU's outputs are not
            subset_size=len(samples),
            # Ranges are the extremes of all images. NNCF's default is the mean of the images' extremes, which
            # cuts off values that only some images have, such as those of objects. For sparsight-n on
            # generated scenes, the default cost 0.9 points of mAP, the extremes 0.1, or 0.3 if calibration
            # and measurement used different scenes.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
            ignored_scope=nncf.IgnoredScope(names=sorted(set(_float_nodes(model))), validate=False),
        )
    return quantized


def quantize_like(quantized: ov.Model, dense_path: Path, sparse_path: Path) -> ov.Model:
    """Return the 8-bit form of a sparse graph, with the weights and ranges of a quantised dense graph.

    Args:
        quantized: the 8-bit form of the graph at dense_path, as quantize_dense returns it.
        sparse_path: a graph of the same model, with a branch for each expert.

    Raises:
        ExportError: a quantised convolution of the dense graph is not in the sparse graph.
    """
    model = ov.Core().read_model(sparse_path)
    nodes = {node.get_friendly_name(): node for node in quantized.get_ops()}
    # Quantised weights are new constants: the graph before quantisation has the checkpoint's names.
    examples = {
        name: nodes[node.get_friendly_name()]
        for node in ov.Core().read_model(dense_path).get_ops()
        if (name := _weight_name(node)) and not _has_float_weights(nodes[node.get_friendly_name()])
    }
    missing = examples.keys() - _take_over(model, examples)
    if missing:
        raise ExportError(
            f"{len(missing)} convolutions of the dense graph are not in the sparse one, the first is "
            f"{min(missing)}. Nothing was written."
        )
    model.validate_nodes_and_infer_types()
    return model


def save_over(model: ov.Model, xml_path: Path) -> None:
    """Replace the files of a graph.

    The new files are first written beside the old ones, because OpenVINO may still read weights from the old
    files.
    """
    partial = xml_path.with_name("partial.xml")
    ov.save_model(model, partial, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        partial.with_suffix(suffix).replace(xml_path.with_suffix(suffix))


def _take_over(model: ov.Model, examples: Mapping[str, ov.Node]) -> set[str]:
    """Quantise convolutions, also in branches, like their counterparts in the quantised dense graph.

    `examples` holds the convolutions of the quantised dense graph by the name of their weights. A
    convolution whose weights are not in `examples` stays in float. Return the names of the weights of the
    quantised convolutions.
    """
    taken: set[str] = set()
    placed: dict[tuple[str, int, str], ov.Node] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "If":
            for side in range(2):
                body = node.get_function(side)
                taken |= _take_over(body, examples)
                node.set_function(side, body)
        elif (name := _weight_name(node)) in examples:
            example = examples[name]
            _follow(example.input_value(0).get_node(), node.input(0), placed)
            node.input(1).replace_source_output(example.input_value(1))  # computed from constants alone
            taken.add(name)
    return taken


def _follow(example: ov.Node, port: ov.Input, placed: dict[tuple[str, int, str], ov.Node]) -> None:
    """Insert a copy of the quantiser `example` before the input `port`.

    If `example` is an operator in PASSING instead, and an operator of the same type is before `port`, do the
    same for each pair of inputs of these two operators.
    """
    source = port.get_source_output()
    if example.get_type_name() == "FakeQuantize":
        key = (source.get_node().get_friendly_name(), source.get_index(), example.get_friendly_name())
        if source.get_node() not in placed.values():
            if key not in placed:
                ranges = [np.array(example.input_value(index).get_node().data) for index in range(1, 5)]
                levels = example.get_attributes()["levels"]
                placed[key] = operators.fake_quantize(source, *ranges, levels=levels)
            port.replace_source_output(placed[key].output(0))
        return
    below = source.get_node()
    if example.get_type_name() in PASSING and below.get_type_name() == example.get_type_name():
        count = example.get_input_size() if example.get_type_name() == "Concat" else 1
        for index in range(count):
            _follow(example.input_value(index).get_node(), below.input(index), placed)


def _float_nodes(model: ov.Model) -> Iterator[str]:
    """Yield the names of the nodes that NNCF must leave in float.

    They are the convolutions whose weights' names contain one of FLOAT_PARTS, the convolutions with computed
    weights, and all other operators that are not in PASSING.
    """
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind in CONVOLUTIONS:
            weight = _weight_name(node)
            if not weight or any(part in weight for part in FLOAT_PARTS):
                yield node.get_friendly_name()
        elif kind not in (*PASSING, *SUBSTANCELESS):
            yield node.get_friendly_name()


def _has_float_weights(convolution: ov.Node) -> bool:
    return convolution.input_value(1).get_node().get_type_name() in ("Constant", "Reshape")


def _weight_name(node: ov.Node) -> str:
    """Return the checkpoint's name of a convolution's weights; "" for other nodes or computed weights."""
    if node.get_type_name() not in CONVOLUTIONS:
        return ""
    weight = node.input_value(1).get_node()
    while weight.get_type_name() in ("Convert", "Reshape"):
        weight = weight.input_value(0).get_node()
    return str(weight.get_friendly_name()) if weight.get_type_name() == "Constant" else ""

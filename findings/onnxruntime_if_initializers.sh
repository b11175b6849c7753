#!/usr/bin/env bash
# ONNX Runtime 1.31.1, CPU provider, x86-64: a convolution inside an `If` branch gets the fast blocked kernel only
# if its weights are initialisers of the branch itself.
#
# A branch may also use weights of the outer graph, and exporters write such graphs. One would expect the same speed
# in both cases. But ONNX Runtime's layout optimisation looks for the weights only in the graph that contains the
# convolution. If the weights are in the outer graph, the convolution stays a plain `Conv`. If the weights are in the
# branch, it becomes `com.microsoft.nchwc.Conv`. The results are equal, but the plain `Conv` takes longer: 1.2 to 1.3
# times as long for six 3×3 convolutions of 64 channels at 80×80 on one thread (AVX-512).
#
# The script compares the two graphs. It printed "outer: plain Conv; inner: com.microsoft.nchwc Conv; outer / inner
# time 1.30". It fails if either kernel changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIDE, LAYERS = 64, 80, 6


def model(*, weights_inside):
    draws = np.random.default_rng(0)
    nodes, outer, value = [], [], "x"
    shape = [1, CHANNELS, SIDE, SIDE]
    for i in range(LAYERS):
        numbers = (draws.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.03).astype(np.float32)
        weight = numpy_helper.from_array(numbers, f"w{i}")
        if not weights_inside:
            outer.append(weight)
        run = helper.make_graph(
            [helper.make_node("Conv", [value, f"w{i}"], [f"run{i}"], pads=[1, 1, 1, 1])],
            f"then{i}", [], [helper.make_tensor_value_info(f"run{i}", TensorProto.FLOAT, shape)],
            [weight] if weights_inside else [],
        )
        skip = helper.make_graph(
            [helper.make_node("Identity", [value], [f"skip{i}"])],
            f"else{i}", [], [helper.make_tensor_value_info(f"skip{i}", TensorProto.FLOAT, shape)],
        )
        nodes.append(helper.make_node("If", ["runs"], [f"y{i}"], then_branch=run, else_branch=skip))
        value = f"y{i}"
    nodes.append(helper.make_node("Identity", [value], ["out"]))
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("runs", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "branches", inputs, outputs, outer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def open_session(proto, optimized):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.optimized_model_filepath = optimized
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def kernels(optimized):
    branches = [a.g for node in onnx.load(optimized).graph.node for a in node.attribute if a.HasField("g")]
    return {(node.domain or "plain") + " Conv" for g in branches for node in g.node if node.op_type == "Conv"}


folder = sys.argv[1]
sessions, found = {}, {}
for where in ("outer", "inner"):
    path = f"{folder}/{where}.onnx"
    sessions[where] = open_session(model(weights_inside=where == "inner"), path)
    found[where] = kernels(path)
feed = {
    "x": np.random.default_rng(1).standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32),
    "runs": np.array(True),
}
np.testing.assert_allclose(*(each.run(None, feed)[0] for each in sessions.values()), atol=1e-4)
seconds = {where: [] for where in sessions}
for _ in range(20):
    for where, session in sessions.items():
        began = time.perf_counter()
        session.run(None, feed)
        seconds[where].append(time.perf_counter() - began)
ratio = np.median(np.array(seconds["outer"]) / np.array(seconds["inner"]))
print(f"onnxruntime {onnxruntime.__version__}")
print(f"outer: {' and '.join(found['outer'])}; inner: {' and '.join(found['inner'])}; outer / inner time {ratio:.2f}")
assert found == {"outer": {"plain Conv"}, "inner": {"com.microsoft.nchwc Conv"}}, found
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"

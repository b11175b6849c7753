"""Graphs that share a file of weights compute the same numbers, and equal weights stand in it once."""

import re
import shutil
from dataclasses import replace

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest

from tests.path_builders import path_model
from tests.unit.training.export.engines import canvases
from training.errors import ExportError
from training.export.graph.fixed_path import fixed_network, routes_of
from training.export.graph.shared_weights import ALIGNMENT, WEIGHTS_FILE, share_weights
from training.export.proof.openvino_engine import OpenVinoEngine, cpu_capabilities
from training.export.targets.openvino import OPENVINO
from training.lab.benchmark.eight_bit import export_source, silent

SIDE = 8
COMMON = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE) / 7


def save(path, own, branches=False):
    """Write x · COMMON · own, with `own` in 8 bits; COMMON may be in the branches of an operator."""
    x = ops.parameter((1, SIDE), np.float32)
    x.output(0).set_names({"x"})
    hidden = _either(x) if branches else ops.matmul(x, COMMON, False, False)
    eight = ops.convert(ops.constant(own.astype(np.int8)), np.float32)
    y = ops.multiply(ops.matmul(hidden, eight, False, False), np.float32(0.25))
    y.output(0).set_names({"y"})
    ov.save_model(ov.Model([y], [x], path.stem), path, compress_to_fp16=False)
    return path


def _either(x):
    """Return x · COMMON if the sum of x is positive, else -(x · COMMON)."""
    whole = ops.if_op(ops.greater(ops.reduce_sum(x, np.array([0, 1])), np.float32(0)).output(0))
    bodies, results = [], []
    for sign in (1, -1):
        inside = ops.parameter((1, SIDE), np.float32)
        results.append(ops.result(ops.multiply(ops.matmul(inside, COMMON, False, False), np.float32(sign))))
        bodies.append(ov.Model([results[-1]], [inside]))
    whole.set_then_body(bodies[0])
    whole.set_else_body(bodies[1])
    whole.set_input(x.output(0), *(body.get_parameters()[0] for body in bodies))
    return whole.set_output(*results)


def save_some(folder, branches=False):
    """Write three graphs, of which the last two are equal."""
    matrices = [np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % (7 + min(row, 1)) for row in range(3)]
    return [save(folder / f"{row}.xml", own, branches) for row, own in enumerate(matrices)]


def places(graph):
    """Return the offset and the size of each constant."""
    return [tuple(map(int, found)) for found in re.findall(r'offset="(\d+)" size="(\d+)"', graph.read_text())]


def answers(graph, inputs, precision="f32", weights=None):
    engine = OpenVinoEngine(graph, precision, weights)
    return [engine.run(each) for each in inputs]


def assert_equal(one, other):
    """Check that two lists of outputs have the same bytes."""
    for got, want in zip(one, other, strict=True):
        assert got.keys() == want.keys()
        assert {name: values.tobytes() for name, values in got.items()} == {
            name: values.tobytes() for name, values in want.items()
        }


@pytest.mark.parametrize("branches", [False, True])
def test_equal_constants_are_stored_once_and_the_numbers_stay_the_same(tmp_path, branches):
    inputs = [{"x": np.linspace(start, 1, SIDE, dtype=np.float32)[None]} for start in (-3, -1, 0)]
    graphs, weights = save_some(tmp_path, branches), tmp_path / WEIGHTS_FILE
    wanted = [answers(graph, inputs) for graph in graphs]
    sizes = [graph.stat().st_size for graph in graphs]
    assert sum((tmp_path / f"{row}.bin").stat().st_size for row in range(3)) > 3 * COMMON.nbytes
    share_weights(graphs, weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.xml", "1.xml", "2.xml", WEIGHTS_FILE]
    for graph, want in zip(graphs, wanted, strict=True):
        assert_equal(answers(graph, inputs, weights=weights), want)
    stored = weights.read_bytes()
    assert stored.count(COMMON.tobytes()) == 1
    assert places(graphs[1]) == places(graphs[2])
    assert all(offset % ALIGNMENT == 0 for graph in graphs for offset, _ in places(graph))
    assert len(stored) == max(offset + size for graph in graphs for offset, size in places(graph))
    assert all(graph.stat().st_size < size for graph, size in zip(graphs, sizes, strict=True))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_graph_whose_file_is_too_short_is_named_and_nothing_changes(tmp_path):
    graphs = save_some(tmp_path)
    last = tmp_path / "2.bin"
    last.write_bytes(last.read_bytes()[:-1])
    before = contents(tmp_path)
    with pytest.raises(ExportError, match=r"2\.bin ends before the constant '.+' of 2\.xml"):
        share_weights(graphs, tmp_path / WEIGHTS_FILE)
    assert contents(tmp_path) == before


def test_a_graph_without_its_file_changes_nothing(tmp_path):
    graphs = save_some(tmp_path)
    (tmp_path / "1.bin").unlink()
    before = contents(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"1\.bin"):
        share_weights(graphs, tmp_path / WEIGHTS_FILE)
    assert contents(tmp_path) == before


@pytest.mark.heavy
@pytest.mark.parametrize("stored", ["f32", "int8"])
def test_routes_that_share_weights_give_the_same_answers_to_the_bit(tmp_path, stored):
    model = path_model(count=2)
    spec, source = export_source(model, "dense", stored, images=2)
    graphs, inputs = [], [{"images": canvas[None]} for canvas in canvases(3)]
    for route in routes_of(model)[:3]:
        alone = tmp_path / route.name
        alone.mkdir()
        with silent():
            built = OPENVINO.build(alone, spec, replace(source, model=fixed_network(model, route)))
        for path in (built, built.with_suffix(".bin")):
            shutil.move(path, tmp_path / f"{route.name}{path.suffix}")
        graphs.append(tmp_path / f"{route.name}.xml")
    computed = [stored, *(["bf16"] if stored == "f32" and "BF16" in cpu_capabilities() else [])]
    wanted = {(graph, each): answers(graph, inputs, each) for graph in graphs for each in computed}
    size, weights = sum(path.stat().st_size for path in tmp_path.glob("*.bin")), tmp_path / WEIGHTS_FILE
    share_weights(graphs, weights)
    assert weights.stat().st_size < 0.75 * size
    for (graph, precision), want in wanted.items():
        assert_equal(answers(graph, inputs, precision, weights), want)

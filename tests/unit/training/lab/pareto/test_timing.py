"""What is timed is what was measured: the same experts for the same image."""

import numpy as np
import openvino as ov
import pytest
import torch

from tests.path_builders import path_model
from tests.training_builders import diverse_images, plain_model
from training.export.graph.export_graph import stack_routings
from training.lab.pareto.candidates import Setting
from training.lab.pareto.timing import NetworkGraphs
from training.models.mixture.routing import RoutingControls


@pytest.mark.heavy
def test_a_run_computes_the_experts_of_its_setting_and_image(tmp_path):
    model = plain_model()
    torch.manual_seed(1)
    images = diverse_images(6)
    controls = RoutingControls(2, 0.45)
    with torch.inference_mode():
        gates, _ = stack_routings(model(images, controls).routings)
    counts = (gates > 0).sum(dim=(1, 2))
    few, many = int(counts.argmin()), int(counts.argmax())
    assert counts[few] < counts[many], "the threshold must decide, or this test proves nothing"
    graphs = NetworkGraphs(model, tmp_path, "f32")
    runs = {
        index: graphs.run_of(Setting("sparse", *controls[:2]), images[index].numpy()) for index in (few, many)
    }
    for index, run in (*runs.items(), *runs.items()):  # in turn: they share one request
        run()
        (request, _) = run.args
        np.testing.assert_allclose(request.get_tensor("gates").data[0], gates[index].numpy(), atol=1e-5)
    assert [path.name for path in tmp_path.glob("*.xml")] == ["sparse.xml"]


@pytest.mark.heavy
def test_all_experts_of_a_network_with_paths_run_with_the_router_of_its_routes(tmp_path):
    model, image = path_model(), diverse_images(1)
    graphs = NetworkGraphs(model, tmp_path, "f32")
    for setting in (Setting("dense", 2, 0.0), Setting("sparse", 2, 0.0)):
        run = graphs.run_of(setting, image[0].numpy())
        run()
        (request, _) = run.args
        with torch.inference_mode():
            wanted = model(image, RoutingControls(2)).path.probs[0].numpy()
        np.testing.assert_allclose(request.get_tensor("path_probs").data[0], wanted, atol=1e-5)
    nodes = {
        path.stem: {node.get_type_name() for node in ov.Core().read_model(path).get_ops()}
        for path in tmp_path.glob("*.xml")
    }
    assert len(nodes) == 2
    assert not any("AvgPool" in types for types in nodes.values()), "it takes longer than the exported router"


@pytest.mark.heavy
def test_images_of_different_paths_run_different_graphs(tmp_path):
    model = path_model()
    torch.manual_seed(1)
    images = diverse_images(12)
    with torch.inference_mode():
        predictions = model(images, RoutingControls(1))
    paths = predictions.path.probs.argmax(dim=-1).tolist()
    first, other = 0, next(index for index, path in enumerate(paths) if path != paths[0])
    graphs = NetworkGraphs(model, tmp_path, "f32")
    for index in (first, other, first):
        run = graphs.run_of(Setting("sparse", 1, 0.0), images[index].numpy())
        run()
        (request, _) = run.args
        found = request.get_tensor("path_probs").data[0]
        np.testing.assert_allclose(found, predictions.path.probs[index].numpy(), atol=1e-5)
    traced = {path.name for path in tmp_path.glob("*.xml")}
    assert traced == {f"path{paths[index]}-k1.xml" for index in (first, other)}

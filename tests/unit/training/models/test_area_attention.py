"""The aggregation stage of the largest sizes: its residual sum, and the width of its perceptrons."""

import torch

from training.config import ModelConfig
from training.models.area_attention import AggregationStage
from training.models.backbone import Backbone
from training.models.layers import CrossStage
from training.models.mixture.routing import RoutingControls


def test_a_scaled_residual_adds_the_input_to_a_learned_fraction_of_each_channel():
    torch.manual_seed(0)
    stage = AggregationStage(64, 64, 1, areas=4, scaled_residual=True).eval()
    plain = AggregationStage(64, 64, 1, areas=4).eval()
    plain.load_state_dict({n: t for n, t in stage.state_dict().items() if n != "scale"})
    assert stage.scale.tolist() == [torch.tensor(0.01).item()] * 64
    with torch.no_grad():
        stage.scale.copy_(torch.linspace(-1, 2, 64))
        x = torch.randn(2, 64, 8, 8)
        expected = x + torch.einsum("c,bchw->bchw", stage.scale, plain(x))
        assert torch.allclose(stage(x), expected, atol=1e-6)
        assert not torch.allclose(stage(x), plain(x), atol=1e-2)


def test_perceptrons_are_as_wide_as_configured():
    wide, narrow = (AggregationStage(128, 128, 1, areas=1, mlp_ratio=ratio) for ratio in (2.0, 1.2))
    assert wide.blocks[0][0].mlp[0].conv.out_channels == 128
    assert narrow.blocks[0][0].mlp[0].conv.out_channels == 76


def test_the_backbone_of_a_large_model_has_deep_stages_and_residuals():
    config = ModelConfig(
        class_names=("a",),
        input_hw=(64, 64),
        depth=1.0,
        deep_stages=True,
        scaled_residual=True,
        mlp_ratio=1.2,
    )
    backbone = Backbone(config).eval()
    assert [type(block) for block in backbone.p2[1].blocks] == [CrossStage, CrossStage]
    assert [len(getattr(backbone, stage)[1].blocks) for stage in ("p4", "p5")] == [4, 4]
    with torch.no_grad():
        maps, routings = backbone(torch.randn(1, 3, 64, 64), RoutingControls(1), "dense")
        assert [tuple(x.shape[2:]) for x in maps] == [(8, 8), (4, 4), (2, 2)]
        assert routings == {}
        seen = []
        backbone.p4[1].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
        backbone(torch.randn(1, 3, 64, 64), RoutingControls(1), "dense")
    (entered, left) = seen[0]
    assert (left - entered).abs().max() < 0.2 * entered.abs().max(), "the input passes, beside a small change"

"""The network as it is shipped: uint8 in, named flat outputs out."""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.config import ModelConfig
from training.models.detector import Detector
from training.models.layers import ConvBlock
from training.models.mixture.dispatch import Conditional, Gathered
from training.models.mixture.experts import DepthwiseSeparableExpert
from training.models.mixture.layer import Dispatch
from training.models.mixture.router import SpatialRouter
from training.models.mixture.routing import Routing, RoutingControls
from training.ops.nms import select_candidates

# B batch · A anchors · C classes · N candidates · L mixture layers · E experts of the widest layer

Target = Literal["openvino", "onnx", "tensorrt"]
Execution = Literal["sparse", "dense"]
Selection = Literal["graph", "service"]
Branches = Literal["best", "per_expert"]
Ports = Literal["f32", "bf16"]


@dataclass(frozen=True)
class GraphSpec:
    """What an exported graph does beyond the network itself."""

    execution: Execution  # sparse: experts that are not chosen are not computed
    selection: Selection  # service: every anchor is returned, for targets that cannot gather by data
    candidates: int = 1000
    max_batch: int = 1  # more than 1: any number of images up to this, each with its own top_k
    fixed_batch: int | None = None  # sparse without branches: so many images, at most the default top_k
    branches: Branches = "best"  # of a sparse graph; per_expert: for tools that cannot follow nested ones
    exactly: int | None = None  # sparse: the only top_k, without a threshold, that this graph is right for
    ports: Ports = "f32"  # of maps that cross a branch; bf16 where the engine computes in it

    def __post_init__(self) -> None:
        if self.fixed_batch is not None and (self.execution == "dense" or self.max_batch > 1):
            raise ValueError("a fixed batch is for sparse execution, and no other batch stands beside it")

    @property
    def batches(self) -> range:
        """Numbers of images that one run may take."""
        if self.fixed_batch is not None:
            return range(self.fixed_batch, self.fixed_batch + 1)
        return range(1, self.max_batch + 1)

    def top_ks(self, config: ModelConfig) -> range:
        """What callers may ask for; gathered weights have room for no more than the default."""
        every = config.allowed_top_k
        return every if self.fixed_batch is None else range(every[0], config.top_k + 1)

    def dispatch(self, config: ModelConfig) -> Dispatch:
        """How the traced network runs its experts."""
        if self.execution == "dense":
            return "dense"
        if self.fixed_batch is not None:
            return Gathered(config.top_k)
        return Conditional(self.exactly, torch.bfloat16 if self.ports == "bf16" else torch.float32)

    def output_names(self, has_mixture: bool) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        found = ("boxes", "scores", "class_ids") if self.selection == "graph" else ("boxes", "class_scores")
        return (*found, "gates", "router_probs") if has_mixture else found


def fold_batch_norm(model: Detector) -> Detector:
    """A copy in which every batch norm that follows a convolution is part of that convolution.

    The norm after the weighted sum stays: experts end in an activation, which it cannot pass. So does group
    norm, whose statistics are those of the image.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, ConvBlock | DepthwiseSeparableExpert) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
        if isinstance(module, SpatialRouter) and isinstance(module.norm, nn.BatchNorm2d):
            module.score = fuse_conv_bn_eval(module.score, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]  # gone on purpose
    return folded


def stack_routings(routings: dict[str, Routing]) -> tuple[Tensor, Tensor]:
    """Gates and router probabilities of all layers, (B, L, E) each; narrower layers are padded with 0."""
    widest = max(routing.gate.shape[1] for routing in routings.values())

    def stack(rows: list[Tensor]) -> Tensor:
        return torch.stack([nn.functional.pad(row, (0, widest - row.shape[1])) for row in rows], dim=1)

    return stack([r.gate for r in routings.values()]), stack([r.probs for r in routings.values()])


class ExportGraph(nn.Module):
    """What is traced. Images (B, H, W, 3) uint8 RGB; top_k (B, 1) int64; weight_threshold (B, 1) f32."""

    def __init__(self, model: Detector, spec: GraphSpec) -> None:
        super().__init__()
        self.model = model
        self.spec = spec

    def forward(self, images: Tensor, top_k: Tensor, weight_threshold: Tensor) -> tuple[Tensor, ...]:
        """The outputs that GraphSpec.output_names names."""
        controls = RoutingControls(top_k, weight_threshold)
        predictions = self.model(images, controls, dispatch=self.spec.dispatch(self.model.config))
        in_graph = self.spec.selection == "graph"
        boxes, class_scores = self.model.decode(predictions, self.spec.candidates if in_graph else None)
        if in_graph:
            boxes, scores, class_ids = select_candidates(boxes, class_scores, self.spec.candidates)
            outputs: tuple[Tensor, ...] = (boxes, scores, class_ids.to(torch.int32))
        else:
            outputs = (boxes, class_scores)
        if predictions.routings:
            outputs += stack_routings(predictions.routings)
        return outputs

"""Matches foreign modules and tensors inside a layer to ours, by name; layouts.py matches whole layers.

A foreign module and our module are traversed in parallel. It is an error if a part of either module has no
counterpart in the other, or if the two compute different things.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from training.convert.container import child, parts, submodules
from training.convert.records import Record, StoredTensor, shown
from training.errors import CheckpointError
from training.models.area_attention import HEAD_CHANNELS, AggregationStage, AreaAttention, AttentionBlock
from training.models.classifier import ClassifyHead
from training.models.heads.detect import DetectHead
from training.models.heads.segment import PrototypeNetwork
from training.models.layers import Bottleneck, ConvBlock, CrossStage, SplitStage
from training.models.mixture.experts import DepthwiseSeparableExpert, SimpleExpert
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import PooledRouter, SpatialRouter

_BOX_BRANCHES = {f"cv2.{level}": f"box_branches.{level}" for level in range(3)}
_CLASS_BRANCHES = {
    f"cv3.{level}.{theirs}": f"class_branches.{level}.{ours}"
    for level in range(3)
    for ours, theirs in enumerate(("0.0", "0.1", "1.0", "1.1", "2"))
}
_SHARED = {"shared_expert.0": "shared.conv", "shared_expert.1": "shared.bn"}


class Counterpart(NamedTuple):
    """The names that foreign networks give to one of our modules and to its parts."""

    kinds: tuple[str, ...]  # foreign class names, the usual name first; empty: any name
    parts: Mapping[str, str]  # our name of each part with weights, by its foreign name, inside the module


COUNTERPARTS: Mapping[type[nn.Module], Counterpart] = {
    ConvBlock: Counterpart(("Conv", "DWConv"), {"conv": "conv", "bn": "bn"}),
    Bottleneck: Counterpart(("Bottleneck",), {"cv1": "reduce", "cv2": "expand"}),
    CrossStage: Counterpart(("C3k",), {"cv1": "enter", "cv2": "bypass", "cv3": "merge", "m": "blocks"}),
    SplitStage: Counterpart(("C3k2",), {"cv1": "split", "cv2": "merge", "m": "blocks"}),
    AggregationStage: Counterpart(
        ("A2C2f",), {"cv1": "enter", "cv2": "merge", "m": "blocks", "gamma": "scale"}
    ),
    AttentionBlock: Counterpart(("ABlock",), {"attn": "attention", "mlp": "mlp"}),
    AreaAttention: Counterpart(("AAttn",), {"qkv": "qkv", "pe": "perceiver", "proj": "project"}),
    MixtureLayer: Counterpart(
        ("ES_MOE", "OptimizedMOEImproved", "ModularRouterExpertMoE"),
        {"routing": "router", "experts": "experts", "norm.0": "bn", **_SHARED},
    ),
    PooledRouter: Counterpart((), {"routing_network.0": "hidden", "routing_network.2": "score"}),
    SpatialRouter: Counterpart(
        (), {"router.0": "hidden.conv", "router.1": "hidden.bn", "router.3": "score", "router.4": "norm"}
    ),
    DepthwiseSeparableExpert: Counterpart(
        (), {"conv.depthwise": "depthwise", "conv.pointwise": "conv", "conv.bn": "bn"}
    ),
    SimpleExpert: Counterpart(
        (),
        {"conv.0": "expand.conv", "conv.1": "expand.bn", "conv.3": "project.conv", "conv.4": "project.bn"},
    ),
    DetectHead: Counterpart(("Detect", "Segment", "Pose", "OBB"), {**_BOX_BRANCHES, **_CLASS_BRANCHES}),
    PrototypeNetwork: Counterpart(
        ("Proto",), {"cv1": "enter", "upsample": "upsample", "cv2": "refine", "cv3": "leave"}
    ),
    ClassifyHead: Counterpart(("Classify",), {"conv": "widen", "linear": "score"}),
}
CONTAINERS = ("Sequential", "ModuleList")
SAME_FUNCTION = ("stride", "padding", "dilation", "groups", "padding_mode")  # must equal ours in convolutions
# Of batch norms. Foreign detectors have the first number; classifiers keep the second, PyTorch's default.
EPSILONS = (1e-3, 1e-5)
FIXED_BINS = "dfl.conv.weight"  # 0, 1, 2, …; our networks compute these numbers and does not store them
MODULES_LIMIT = 20_000  # the largest known model has under 3,000
PATH_LIMIT = 200  # characters of a name


class Source(NamedTuple):
    """A tensor of the foreign model."""

    path: str
    stored: StoredTensor
    epsilon: float | None = None  # of the batch norm that holds it


Found = dict[str, Source]  # by our tensor name


def all_tensors(record: Record, path: str) -> Iterator[tuple[str, str]]:
    """Yield the name of every tensor in a foreign module, with the class of the submodule that holds it.

    Raises:
        CheckpointError: an activation is neither SiLU nor Softmax, or modules are nested without end.
    """
    waiting, seen = [(record, path)], 0
    while waiting:
        module, name = waiting.pop()
        seen += 1
        if seen + len(waiting) > MODULES_LIMIT or len(name) > PATH_LIMIT:
            raise CheckpointError(f"{name[:PATH_LIMIT]}: modules within modules without end")
        if module.type.module == "torch.nn.modules.activation" and module.kind not in ("SiLU", "Softmax"):
            raise CheckpointError(f"{name} is {module.kind}; only SiLU can be converted")
        yield from ((f"{name}.{tensor}", module.kind) for tensor in _tensors(module))
        waiting.extend((part, f"{name}.{key}") for key, part in submodules(module).items())


def match_tensors(record: Record, path: str, module: nn.Module, name: str) -> Found:
    """Return all tensors of a foreign module, each under the name of its counterpart in our network.

    Args:
        record: the foreign module.
        path: the foreign module's path in its model.
        module: the foreign module's counterpart in our network.
        name: the counterpart's path in our network.

    Raises:
        CheckpointError: a part or tensor is missing or superfluous, a tensor has a wrong shape, or a part
            does not compute the same as its counterpart. The message gives the path in the foreign model.
    """
    if isinstance(module, nn.Sequential | nn.ModuleList):
        names = {*submodules(record), *dict(module.named_children())}
        counterpart = Counterpart(CONTAINERS, {part: part for part in sorted(names)})
    elif type(module) in COUNTERPARTS:
        counterpart = COUNTERPARTS[type(module)]
    else:
        return _leaf_tensors(record, path, module, name)
    if counterpart.kinds and record.kind not in counterpart.kinds:
        raise CheckpointError(f"{path} is {record.kind}; expected {counterpart.kinds[0]}")
    record.require(path, _settings(module))
    if isinstance(module, ConvBlock):
        _check_kind(child(record, "act"), f"{path}.act", type(module.act).__name__)
    found: Found = {}
    for their_name, our_name in counterpart.parts.items():
        theirs, ours = child(record, their_name), _attribute(module, our_name)
        if (theirs is None) != (ours is None):
            wrong = "is missing" if theirs is None else f"({_kind(theirs)}) is one too many"
            raise CheckpointError(f"{path}.{their_name} {wrong} in {record.kind}")
        if isinstance(theirs, Record) and isinstance(ours, nn.Module):
            found |= match_tensors(theirs, f"{path}.{their_name}", ours, f"{name}.{our_name}")
        elif theirs is not None:
            found |= _leaf_tensors(theirs, f"{path}.{their_name}", ours, f"{name}.{our_name}")
    return found


def _leaf_tensors(part: Any, path: str, ours: Any, name: str) -> Found:
    if isinstance(ours, Tensor):
        if not isinstance(part, StoredTensor):
            raise CheckpointError(f"{path} is {_kind(part)}, not a tensor")
        return {name: Source(path, _shaped(part, path, ours))}
    # A linear layer of ours may be a 1×1 convolution there. Our depthwise convolutions have their own class.
    linear = isinstance(ours, nn.Linear) and _kind(part) == "Linear"
    convolution = isinstance(ours, nn.Linear | nn.Conv2d) and not linear
    _check_kind(part, path, "Conv2d" if convolution else type(ours).__name__)
    part.require(path, _settings(ours))
    epsilon = _epsilon(part, path) if isinstance(ours, nn.BatchNorm2d) else None
    own = ours.state_dict()
    theirs = _tensors(part)
    for tensor in (*own, *theirs):
        if tensor not in theirs:
            shape = list(own[tensor].shape)
            raise CheckpointError(f"{path}.{tensor} is missing in {part.kind}; expected {shape}")
        if tensor not in own:
            raise CheckpointError(
                f"{path}.{tensor} of {list(theirs[tensor].shape)} is one too many in {part.kind}: was the "
                "file saved with its batch norms fused into the convolutions?"
            )
    return {
        f"{name}.{tensor}": Source(
            f"{path}.{tensor}", _shaped(stored, f"{path}.{tensor}", own[tensor], part.kind), epsilon
        )
        for tensor, stored in theirs.items()
    }


def _epsilon(norm: Record, path: str) -> float:
    """Return the number that a foreign batch norm adds to the variance."""
    epsilon = norm.get("eps")
    if epsilon not in EPSILONS:
        expected = " or ".join(map(str, EPSILONS))
        raise CheckpointError(f"{path} ({norm.kind}) has eps={shown(epsilon)}; expected {expected}")
    return float(epsilon)


def _shaped(stored: StoredTensor, path: str, own: Tensor, kind: str = "parameter") -> StoredTensor:
    found = stored.shape
    if len(own.shape) == 2 and found[2:] == (1, 1):  # a 1×1 convolution of one cell is our linear layer
        found = found[:2]
    if found != tuple(own.shape):
        raise CheckpointError(f"{path} ({kind}) is {list(stored.shape)}; expected {list(own.shape)}")
    if stored.storage.dtype.is_floating_point != own.is_floating_point():
        raise CheckpointError(f"{path} ({kind}) is of {stored.storage.dtype}; expected {own.dtype}")
    return stored


def _tensors(part: Record) -> dict[str, StoredTensor]:
    held = (*parts(part, "_parameters"), *parts(part, "_buffers"))
    return {name: value for name, value in held if isinstance(value, StoredTensor)}


def _settings(module: nn.Module) -> Mapping[str, object]:
    """Return the settings of our module that must be the same in the foreign module."""
    match module:
        case nn.Conv2d():
            return {name: getattr(module, name) for name in SAME_FUNCTION}
        case nn.ConvTranspose2d():
            return {name: getattr(module, name) for name in (*SAME_FUNCTION, "output_padding")}
        case Bottleneck():
            return {"add": True}
        case AreaAttention():
            return {"area": module.areas, "num_heads": module.heads, "head_dim": HEAD_CHANNELS}
        case DetectHead():
            return {"reg_max": module.reg_max}
        case _:
            return {}


def _attribute(module: nn.Module, path: str) -> Any:
    """Return a part of one of our modules by its path; None if the module is configured without it."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name, None)
    return None if isinstance(value, nn.Identity) else value


def _check_kind(part: object, path: str, expected: str) -> None:
    if _kind(part) != expected:
        raise CheckpointError(f"{path} is {_kind(part)}; expected {expected}")


def _kind(part: object) -> str:
    if part is None:
        return "missing"
    return part.kind if isinstance(part, Record) else "a bare tensor"

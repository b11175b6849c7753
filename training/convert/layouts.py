"""Recognises a foreign network from its layers, and returns our configuration of the same network."""

from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

from training.config import TASK_SUFFIXES, MixtureConfig, ModelConfig
from training.convert.container import ForeignModel, child, submodules
from training.convert.heads import HEADS
from training.convert.records import Record, StoredTensor, shown
from training.errors import CheckpointError, ConfigError
from training.models.variants import model_config

# By the first layer's width and the number of attention blocks at stride 16, as two sizes share a width.
SIZES = {(16, 2): "n", (32, 2): "s", (64, 2): "m", (64, 4): "l", (96, 4): "x"}
FAMILIES = {"yolov12": "YOLO12", "esmoe": "YOLO-Master EsMoE", "modular": "YOLO-Master v0.1"}
GATE_EPSILON = 1e-6  # YOLO-Master v0.1 adds this to the sum of the chosen weights
EXPERTS_LIMIT = 64
KERNEL_LIMIT = 31
SPATIAL_MIXTURES = ("OptimizedMOEImproved", "ModularRouterExpertMoE")  # two names of the same class


class Layer(NamedTuple):
    """One layer of a known model: its class, its inputs, and its place in our network."""

    kinds: tuple[str, ...]  # class names, the usual name first
    place: str  # path in our network; empty if the layer has nothing to convert
    sources: tuple[int, ...]  # indices of the layers that it reads


class Recognised(NamedTuple):
    """A network of another project: its family and layers, and our configuration of this network."""

    config: ModelConfig
    family: str  # commonly used name
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]  # differences from the original that a user should know


def recognise(found: ForeignModel) -> Recognised:
    """Return the family and layers of another project's network, and our configuration of this network.

    Raises:
        CheckpointError: the network belongs to no known family. The message names the first differing layer.
    """
    family = _family(found.layers)
    head = found.layers[-1].kind
    layers = known_layers(family, head)
    by_place = {layer.place: record for layer, record in zip(layers, found.layers, strict=True)}
    size = _size(by_place)
    try:
        variant = f"{family}-{size}{TASK_SUFFIXES[HEADS[head].task]}"
        config = model_config(variant, found.class_names, found.input_hw, skeleton=found.skeleton)
        mixtures, notes = _mixtures(config, by_place)
        config = replace(config, mixtures=mixtures)
    except ConfigError as error:
        raise CheckpointError(f"a {FAMILIES[family]} of size {size}, but {error}") from error
    return Recognised(config, FAMILIES[family], layers, notes)


def known_layers(family: str, head: str = "Detect") -> tuple[Layer, ...]:
    """Return the layers of a model family, in order. All sizes of a family have the same layers.

    `head` is the class name of the last layer. If no such head is known, return the layers for detection.
    """
    mixed = {"esmoe": ("p2", "p3", "p4", "p5"), "modular": ("p3", "p4", "p5")}.get(family, ())
    mixture_kinds = ("ES_MOE",) if family == "esmoe" else SPATIAL_MIXTURES
    neck_kind = "A2C2f" if family == "yolov12" else "C3k2"
    layers: list[Layer] = []

    def add(kind: str | tuple[str, ...], place: str = "", *others: int) -> int:
        """Append a layer that reads the preceding layer and the layers `others`; return its index."""
        layers.append(Layer((kind,) if isinstance(kind, str) else kind, place, (len(layers) - 1, *others)))
        return len(layers) - 1

    add("Conv", "backbone.stem")
    taps = {}
    for stage in ("p2", "p3", "p4", "p5"):
        add("Conv", f"backbone.{stage}.0")
        taps[stage] = add("C3k2" if stage in ("p2", "p3") else "A2C2f", f"backbone.{stage}.1")
        if stage in mixed:
            taps[stage] = add(mixture_kinds, f"backbone.mixtures.{stage}")
    if head == "Classify":
        add(head, "head")
        return tuple(layers)
    add("Upsample")
    add("Concat", "", taps["p4"])
    mid = add(neck_kind, "neck.top_down_p4")
    add("Upsample")
    add("Concat", "", taps["p3"])
    fine = add(neck_kind, "neck.top_down_p3")
    add("Conv", "neck.downsample_p3")
    add("Concat", "", mid)
    mid = add(neck_kind, "neck.bottom_up_p4")
    add("Conv", "neck.downsample_p4")
    add("Concat", "", taps["p5"])
    coarse = add("C3k2", "neck.bottom_up_p5")
    layers.append(Layer((head if head in HEADS else "Detect",), "head", (fine, mid, coarse)))
    return tuple(layers)


def _family(records: tuple[Record, ...]) -> str:
    differences = {}
    for family in FAMILIES:
        difference = _first_difference(known_layers(family, records[-1].kind), records)
        if difference is None:
            return family
        differences[family] = difference
    furthest = max(index for index, _ in differences.values())
    expected = [
        f"a {FAMILIES[family]} model has {layer} there"
        for family, (index, layer) in differences.items()
        if index == furthest
    ]
    found = f"layer {furthest} is {_shown(records, furthest)}"
    raise CheckpointError(f"no model that can be converted: {found}; {', '.join(expected)}")


def _first_difference(layers: tuple[Layer, ...], records: tuple[Record, ...]) -> tuple[int, str] | None:
    """Return the index of the first foreign layer that differs and the expected layer; None if all agree."""
    for index, (layer, record) in enumerate(zip_longest(layers, records)):
        if layer is None:
            return index, "no further layer"
        if record is None or record.kind not in layer.kinds:
            return index, layer.kinds[0]
        if _sources(index, record.get("f")) != layer.sources:
            return index, f"{layer.kinds[0]} of {_listed(layer.sources)}"
    return None


def _shown(records: tuple[Record, ...], index: int) -> str:
    if index >= len(records):
        return "missing"
    sources = _sources(index, records[index].get("f"))
    return records[index].kind + ("" if sources == (index - 1,) else f" of {_listed(sources)}")


def _listed(sources: tuple[int, ...]) -> str:
    return "layer " + " and ".join(map(str, sources)) if sources else "no known layer"


def _sources(index: int, written: Any) -> tuple[int, ...]:
    """Return the indices of the layers that layer `index` reads; empty if `written` is malformed.

    `written` is the checkpoint's entry for these indices. A negative index there counts back from `index`.
    """
    sources = written if isinstance(written, (list, tuple)) else (written,)
    if not all(type(source) is int for source in sources):
        return ()
    return tuple(index + source if source < 0 else source for source in sources)


def _size(by_place: dict[str, Record]) -> str:
    weight = child(by_place["backbone.stem"], "conv.weight")
    blocks = child(by_place["backbone.p4.1"], "m")
    if not isinstance(weight, StoredTensor) or not weight.shape or not isinstance(blocks, Record):
        raise CheckpointError("the first layer has no convolution, or layer backbone.p4 no blocks")
    width, depth = weight.shape[0], len(submodules(blocks))
    if (width, depth) not in SIZES:
        raise CheckpointError(
            f"an unknown size: its first layer has {width} channels, its stage at stride 16 {depth} blocks; "
            f"known are {', '.join(f'{size} ({w}, {d})' for (w, d), size in SIZES.items())}"
        )
    return SIZES[width, depth]


def _mixtures(
    config: ModelConfig, by_place: dict[str, Record]
) -> tuple[dict[str, MixtureConfig], tuple[str, ...]]:
    mixtures = {}
    notes: dict[str, None] = {}  # without repetitions
    for place, usual in config.mixtures.items():
        mixtures[place], note = mixture_config(usual, by_place[place.replace(".", ".mixtures.")])
        notes[note] = None
    if len({mixture.top_k for mixture in mixtures.values()}) > 1:
        counts = (f"{place} {one.top_k} of {one.num_experts}" for place, one in mixtures.items())
        raise CheckpointError(f"its layers run {', '.join(counts)} experts; here one K must fit all layers")
    return mixtures, tuple(filter(None, notes))


def mixture_config(usual: MixtureConfig, record: Record) -> tuple[MixtureConfig, str]:
    """Return our configuration of a foreign mixture layer, and a note for the user, which may be "".

    `usual` is the configuration of this layer in the family's paper or code.

    Raises:
        CheckpointError: the layer computes something that our mixture layer cannot.
    """
    return _es_moe(usual, record) if usual.expert == "depthwise" else (_spatial(usual, record), "")


def _es_moe(usual: MixtureConfig, record: Record) -> tuple[MixtureConfig, str]:
    experts = _experts(record)
    kernels = []
    for index, expert in enumerate(experts):
        weight = child(expert, "conv.depthwise.weight")
        shape = weight.shape if isinstance(weight, StoredTensor) else ()
        kernel = shape[-1] if shape else 0
        if shape[1:] != (1, kernel, kernel) or kernel % 2 == 0 or kernel > KERNEL_LIMIT:
            raise CheckpointError(
                f"expert {index} of an ES_MOE layer has a depthwise convolution of {list(shape)}; "
                f"expected [channels, 1, k, k] with an odd k up to {KERNEL_LIMIT}"
            )
        kernels.append(kernel)
    top_k, note = len(experts), ""
    given = record.get("top_k")
    fewer = given is not None and not (type(given) is int and given >= len(experts))
    if fewer and record.get("use_top_k") is None:
        raise CheckpointError(
            f"an ES_MOE layer has top_k={shown(given)} for {len(experts)} experts, but no use_top_k; "
            "without it, the number of experts that run is unknown"
        )
    if record.get("use_top_k", False):
        top_k = _top_k(record, len(experts))
        note = (
            f"of {len(experts)} experts the best {top_k} run; in eager mode, the original also drops experts "
            "whose weight is below its dynamic_threshold, which is not done here"
        )
    return replace(usual, num_experts=len(experts), top_k=top_k, kernel_sizes=tuple(kernels)), note


def _spatial(usual: MixtureConfig, record: Record) -> MixtureConfig:
    expectations = {"router_type": "efficient", "expert_type": "simple", "add_residual": False}
    for name, expected in expectations.items():
        found = record.get(name, expected)
        if found != expected:
            raise CheckpointError(
                f"{record.kind} with {name}={shown(found)} computes something else; expected {expected!r}"
            )
    router = child(record, "routing")
    pool = router.get("pool_scale", usual.router.pool) if isinstance(router, Record) else None
    if not isinstance(router, Record) or type(pool) is not int or not 1 <= pool <= 64:
        raise CheckpointError(f"{record.kind} has no router that averages squares of cells")
    count = len(_experts(record))
    top_k = _top_k(record, count)
    if router.get("top_k", top_k) != top_k:
        raise CheckpointError(f"{record.kind} has top_k={top_k}, its router {shown(router.get('top_k'))}")
    return replace(
        usual,
        num_experts=count,
        top_k=top_k,
        gate_epsilon=GATE_EPSILON,
        kernel_sizes=(1,) * count,
        router=replace(usual.router, pool=pool),
    )


def _experts(record: Record) -> list[Record]:
    held = child(record, "experts")
    experts = list(submodules(held).values()) if isinstance(held, Record) else []
    declared = record.get("num_experts", len(experts))
    if len(experts) > EXPERTS_LIMIT:
        raise CheckpointError(f"{record.kind} has {len(experts)} experts; {EXPERTS_LIMIT} is the limit")
    if not experts or declared != len(experts):
        raise CheckpointError(f"{record.kind} declares {shown(declared)} experts and has {len(experts)}")
    return experts


def _top_k(record: Record, experts: int) -> int:
    value = record.get("top_k")
    if type(value) is not int or not 1 <= value <= experts:
        raise CheckpointError(
            f"{record.kind} has top_k={shown(value)}; with {experts} experts it must be 1..{experts}"
        )
    return value

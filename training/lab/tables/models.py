"""The table of models: parameters, GFLOPs for an image, and published figures."""

import json
from dataclasses import asdict, dataclass
from textwrap import fill

import torch
from torch import nn

from training.columns import in_columns
from training.config import OBJECT_TASKS
from training.lab.tables.published import IMAGENET_CLASSES, PUBLISHED, Named, Published
from training.models.cost import measure_cost
from training.models.families.choose import parse_variant, variants_of
from training.models.network import Network, count_parameters
from training.models.variants import DETECT_VARIANTS, MixtureChoice, model_config
from training.skeleton import Skeleton
from training.tasks.choose import task_named

ABLATIONS = (
    MixtureChoice(placement="neck"),
    MixtureChoice(placement="both"),
    MixtureChoice(num_experts=2),
    MixtureChoice(num_experts=8),
    MixtureChoice(num_experts=3, top_k=3),
    MixtureChoice(top_k=1),
    MixtureChoice(top_k=4),
)
SMALLEST = "n"  # the one size that is listed of segmenters, pose networks and detectors of oriented boxes
MODELS = (
    *(Named(variant=variant) for variant in DETECT_VARIANTS),
    *(Named(variant="esmoe-n", choice=choice) for choice in ABLATIONS),
    *(
        Named(variant=variant)
        for task in OBJECT_TASKS
        if task != "detect"
        for variant in variants_of(task)
        if parse_variant(variant).size == SMALLEST
    ),
    *(Named(variant=variant, classes=IMAGENET_CLASSES) for variant in variants_of("classify")),
)
COCO_KEYPOINTS = 17
WIDTH = 110


@dataclass(frozen=True)
class Measured:
    """The parameters and GFLOPs of one model, at the usual input size of the model's task."""

    top_k: int
    parameters: int
    active_parameters: int  # without the experts that do not run: in each layer, the smallest ones
    gflops: float  # every expert computed
    gflops_at_top_k: float  # the most expensive experts chosen
    routed: float  # share of gflops that is in experts


@dataclass(frozen=True)
class Comparison:
    """Published figures of a model and our own; a difference of 0.01 means that ours is 1 % larger."""

    published: Published
    parameters: int
    gflops: float  # at the model's own top_k

    @property
    def parameters_difference(self) -> float:
        """Return our number of parameters divided by the published number, minus 1."""
        return self.parameters / self.published.parameters - 1

    @property
    def gflops_difference(self) -> float | None:
        """Return our GFLOPs divided by the published GFLOPs, minus 1; None if no GFLOPs are published."""
        return None if self.published.gflops is None else self.gflops / self.published.gflops - 1


def build(named: Named) -> Network:
    """Return a model on the meta device, where its tensors have shapes but no values.

    The shapes suffice to count parameters and operations.
    """
    class_names = tuple(f"class {index}" for index in range(named.classes))
    task = task_named(parse_variant(named.variant).task)
    hw, skeleton = task.defaults.input_hw, Skeleton.unnamed(COCO_KEYPOINTS)
    config = model_config(named.variant, class_names, hw, named.choice, skeleton)
    with torch.device("meta"):
        return task.build(config)


def measure(named: Named) -> Measured:
    """Return the parameters and GFLOPs of a model, counted from the shapes of its tensors."""
    model = build(named)
    parameters, top_k = count_parameters(model), model.config.top_k
    idle = 0
    for layer in model.mixture_layers().values():
        sizes = sorted(count_parameters(expert) for expert in layer.experts)
        idle += sum(sizes[: max(len(sizes) - top_k, 0)])
    # Norms and activations add no operations, but two thirds of the counting time.
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.GroupNorm | nn.SiLU):
                setattr(module, name, nn.Identity())
    with torch.device("meta"):
        cost = measure_cost(model)
    routed = 1 - cost.fixed / cost.dense
    return Measured(top_k, parameters, parameters - idle, cost.dense, cost.at_top_k(top_k), routed)


def measure_all() -> tuple[dict[Named, Measured], list[Comparison]]:
    """Return our figures for every model in the table, and a comparison with each published figure."""
    wanted = dict.fromkeys((*MODELS, *(line.of for line in PUBLISHED)))
    measured = {named: measure(named) for named in wanted}
    comparisons = [
        Comparison(line, measured[line.of].parameters, measured[line.of].gflops_at_top_k)
        for line in PUBLISHED
    ]
    return {named: measured[named] for named in MODELS}, comparisons


def label(named: Named) -> str:
    """Return a model's name in the table, such as `esmoe-n E=8, 20 classes`."""
    choice = named.choice
    experts = None if choice.num_experts is None else f"E={choice.num_experts}"
    top_k = None if choice.top_k is None else f"K={choice.top_k}"
    name = " ".join(part for part in (named.variant, choice.placement, experts, top_k) if part)
    usual = named.classes in (80, IMAGENET_CLASSES)  # the heading states these
    return name if usual else f"{name}, {named.classes} classes"


def variants_table() -> str:
    """Return the table as text: our models, the published figures, and notes where the figures differ."""
    models, comparisons = measure_all()
    notes = list(dict.fromkeys(one.published.note for one in comparisons if one.published.note))
    return "\n".join(
        [
            f"80 classes, 640 × 640; -pose: {COCO_KEYPOINTS} keypoints; -cls: 1000 classes, 224 × 224",
            "2 operations a multiply-add, norms folded, attention products left out",
            "at K experts a layer: parameters without the smallest experts, GFLOPs with the costliest",
            "",
            *_models_block(models),
            "",
            "beside published figures (the originals also count 16 fixed numbers of the box distribution)",
            "",
            *_comparisons_block(comparisons, notes),
            "",
            *(
                fill(f"[{number}] {note}", WIDTH, subsequent_indent="    ")
                for number, note in enumerate(notes, 1)
            ),
        ]
    )


def _models_block(models: dict[Named, Measured]) -> list[str]:
    rows: list[tuple[object, ...]] = [("model", "K", "parameters", "at K", "GFLOPs, all", "at K", "routed")]
    for named, one in models.items():
        top_k, routed = (one.top_k, f"{one.routed:.0%}") if one.routed else ("-", "-")
        parameters = (f"{one.parameters:,}", f"{one.active_parameters:,}")
        gflops = (f"{one.gflops:.2f}", f"{one.gflops_at_top_k:.2f}")
        rows.append((label(named), top_k, *parameters, *gflops, routed))
    return in_columns(rows, "lrrrrrr")


def _comparisons_block(comparisons: list[Comparison], notes: list[str]) -> list[str]:
    rows = [("model", "source", "parameters", "theirs", "", "GFLOPs", "theirs", "", "")]
    for one in comparisons:
        published, difference = one.published, one.gflops_difference
        theirs = published.parameters
        given = f"{theirs:,}" if isinstance(theirs, int) else f"{theirs / 1e6:g} M"  # exact or rounded
        parameters = (f"{one.parameters:,}", given, f"{one.parameters_difference:+z.1%}")
        gflops = ("", "", "")
        if difference is not None:
            gflops = (f"{one.gflops:.2f}", str(published.gflops), f"{difference:+z.1%}")
        mark = f"[{notes.index(published.note) + 1}]" if published.note else ""
        rows.append((label(published.of), published.source, *parameters, *gflops, mark))
    return in_columns(rows, "llrrrrrrl")


def variants_json() -> str:
    """Return the models and the published figures as JSON."""
    models, comparisons = measure_all()
    lines = [
        {
            **_fields(one.published.of),
            "source": one.published.source,
            "parameters": one.parameters,
            "published_parameters": one.published.parameters,
            "parameters_difference": one.parameters_difference,
            "gflops_at_top_k": one.gflops,
            "published_gflops": one.published.gflops,
            "gflops_difference": one.gflops_difference,
            "note": one.published.note or None,
        }
        for one in comparisons
    ]
    rows = [_fields(named) | asdict(measured) for named, measured in models.items()]
    return json.dumps({"models": rows, "comparisons": lines})


def _fields(named: Named) -> dict[str, object]:
    asked = {f"asked_{name}": value for name, value in asdict(named.choice).items()}
    return {"model": label(named), "variant": named.variant, "classes": named.classes, **asked}

"""Finds the network in a checkpoint: its layers, classes and input size, and the file's own metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.convert.archive import Archive
from training.convert.heads import HEADS, OTHER_HEADS
from training.convert.keypoints import read_skeleton
from training.convert.records import Record, StoredTensor, is_plain, plain_name, shown
from training.errors import CheckpointError
from training.skeleton import Skeleton

STRIDE = 32  # input heights and widths are multiples of this number
SMALLEST_INPUT = 64
DEFAULT_INPUT = 640
DEFAULT_CLASSIFIER_INPUT = 224
METADATA = ("version", "date", "license")  # kept in the converted file as its provenance
CLASSES_LIMIT = 10_000
PARTS_LIMIT = 1_000  # modules, parameters or buffers directly in one module


@dataclass(frozen=True)
class ForeignModel:
    """A network as its file describes it. Its layers are records, that is data, not modules that can run."""

    layers: tuple[Record, ...]  # in order; the last layer is the head
    class_names: tuple[str, ...]
    input_hw: tuple[int, int]
    skeleton: Skeleton | None  # pose only
    averaged: bool  # whether these are the run's averaged (EMA) weights
    metadata: Mapping[str, str]  # the entries named in METADATA that the file has


def find_model(archive: Archive, input_hw: tuple[int, int] | None) -> ForeignModel:
    """Return the network in a checkpoint.

    Args:
        input_hw: height and width of the model input; None: the size that the file was trained at.

    Raises:
        CheckpointError: the file does not contain a whole network. The message says what it contains instead.
    """
    saved = archive.contents()
    averaged, model = _module(saved)
    layers = _layers(model)
    head = layers[-1]
    if head.kind in OTHER_HEADS:
        raise CheckpointError(
            f"layer {len(layers) - 1} is {head.kind}; heads that can be converted are {', '.join(HEADS)}"
        )
    class_names = _class_names(model.get("names"), head.get("nc"))
    default = DEFAULT_CLASSIFIER_INPUT if head.kind == "Classify" else DEFAULT_INPUT
    return ForeignModel(
        layers=layers,
        class_names=class_names,
        input_hw=input_hw or _input_hw(saved, model, default),
        skeleton=read_skeleton(model, head, class_names) if head.kind == "Pose" else None,
        averaged=averaged,
        metadata={name: saved[name] for name in METADATA if is_plain(saved.get(name))},
    )


def child(module: object, path: str) -> Record | StoredTensor | None:
    """Return the module or tensor at a path, such as `conv.weight`, inside a module; None if it has none."""
    name, _, rest = path.partition(".")
    for part in ("_modules", "_parameters", "_buffers"):
        held = module.get(part) if isinstance(module, Record) else None
        found = held.get(name) if isinstance(held, dict) else None
        if isinstance(found, Record | StoredTensor):
            return child(found, rest) if rest else found
    return None


def submodules(module: Record) -> dict[str, Record]:
    """Return the child modules of a module, by name."""
    return {name: value for name, value in parts(module, "_modules") if isinstance(value, Record)}


def parts(module: Record, group: str) -> list[tuple[str, Any]]:
    """Return a module's submodules, parameters or buffers by name.

    `group` is the attribute that holds them: `_modules`, `_parameters` or `_buffers`.

    Raises:
        CheckpointError: there are too many parts, or a name is too long, or contains a dot or characters that
            cannot be printed.
    """
    held = module.get(group)
    if not isinstance(held, dict):
        return []
    if len(held) > PARTS_LIMIT:
        raise CheckpointError(f"{module.kind} has {len(held)} {group}; {PARTS_LIMIT} is the limit")
    for name in held:
        if "." in plain_name(name):
            raise CheckpointError(f"{module.kind} has a part named {shown(name)}: no dots in names of parts")
    return list(held.items())


def _module(saved: Any) -> tuple[bool, Record]:
    if not isinstance(saved, dict):
        kind = saved.kind if isinstance(saved, Record) else type(saved).__name__
        raise CheckpointError(f"holds a {kind}, not a dict with a model: save the checkpoint whole")
    for name in ("ema", "model"):
        if isinstance(saved.get(name), Record):
            return name == "ema", saved[name]
    raise CheckpointError(
        "holds weights without the model they belong to: convert the .pt that training wrote, in which "
        f"'model' or 'ema' is a whole module; found {shown(list(saved))}"
    )


def _layers(model: Record) -> tuple[Record, ...]:
    sequence = child(model, "model")
    if not isinstance(sequence, Record) or not submodules(sequence):
        raise CheckpointError(f"{model.kind} has no list of layers named 'model'")
    layers = submodules(sequence)
    if list(layers) != [str(index) for index in range(len(layers))]:
        raise CheckpointError(f"layers of {model.kind} are not numbered in turn: {shown(list(layers))}")
    return tuple(layers.values())


def _class_names(names: Any, declared: Any) -> tuple[str, ...]:
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise CheckpointError("has no class names: the model's 'names' is missing or empty")
    if len(names) > CLASSES_LIMIT:
        raise CheckpointError(f"has {len(names)} classes; {CLASSES_LIMIT} is the limit")
    if not all(type(index) is int for index in names) or sorted(names) != list(range(len(names))):
        raise CheckpointError(f"class names are not numbered 0..{len(names) - 1}: {shown(list(names))}")
    ordered = tuple(names[index] for index in range(len(names)))
    first_index: dict[str, int] = {}
    for index, name in enumerate(ordered):
        if not is_plain(name) or not name.strip():
            raise CheckpointError(f"class {index} has no name that can be shown: {shown(name)}")
        first = first_index.setdefault(name, index)
        if first != index:
            raise CheckpointError(f"classes {first} and {index} are both named {shown(name)}")
    if declared is not None and declared != len(ordered):
        raise CheckpointError(f"names {len(ordered)} classes, but its head is for {shown(declared)}")
    return ordered


def _input_hw(saved: dict[Any, Any], model: Record, default: int) -> tuple[int, int]:
    """Return the input size that the network was trained at; `default` if the file states none.

    The file states the size that the user requested. The original training rounded this size up to
    multiples of STRIDE, and so does this function.
    """
    sizes = [
        arguments.get("imgsz")
        for arguments in (saved.get("train_args"), model.get("args"))
        if isinstance(arguments, Record | dict)
    ]
    size = next(filter(None, sizes), default)
    sides = size if isinstance(size, (list, tuple)) else (size,)
    if len(sides) not in (1, 2) or not all(type(side) is int and 0 < side <= 8192 for side in sides):
        raise CheckpointError(f"was trained at the impossible size {shown(size)}; give a size with --input")
    rounded = [max(-(-side // STRIDE) * STRIDE, SMALLEST_INPUT) for side in sides]
    return rounded[0], rounded[-1]

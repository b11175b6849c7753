"""Converts a foreign checkpoint to ours. A tensor of either model without a counterpart is an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.config import STRIDES
from training.convert.archive import Archive, open_archive
from training.convert.container import ForeignModel, child, find_model
from training.convert.heads import HEADS
from training.convert.keys import FIXED_BINS, Found, Source, all_tensors, match_tensors
from training.convert.layouts import Recognised, recognise
from training.convert.records import Record, StoredTensor
from training.errors import CheckpointError
from training.models.layers import BN_EPS
from training.models.network import Network
from training.tasks.choose import task_named

WITHOUT_WEIGHTS: Mapping[str, Mapping[str, object]] = {
    "Upsample": {"mode": "nearest", "scale_factor": 2, "size": None},
    "Concat": {"d": 1},
}


@dataclass(frozen=True)
class Conversion:
    """Our network, filled with the weights of a foreign network, and where these weights come from."""

    model: Network
    recognised: Recognised
    found: ForeignModel
    tensors: int  # number of tensors read from the file
    sha256: str  # hash of the file


def read_foreign(path: Path, input_hw: tuple[int, int] | None = None) -> Conversion:
    """Return a YOLO12 or YOLO-Master checkpoint of any task as our network; no code in the file runs.

    Args:
        path: the .pt file.
        input_hw: height and width of the model input; None: the size that the file was trained at.

    Raises:
        CheckpointError: the file is damaged, malicious or not exactly a known model. The message names the
            wrong part.
    """
    with open_archive(path) as archive:
        found = find_model(archive, input_hw)
        recognised = recognise(found)
        _check_outside_weights(archive, recognised, found)
        head = found.layers[-1]
        build = task_named(recognised.config.task).build
        with torch.device("meta"):  # allocates nothing, as the sizes are not verified yet
            shapes = build(recognised.config)
        tensors: Found = {}
        for index, (layer, record) in enumerate(zip(recognised.layers, found.layers, strict=True)):
            if layer.place:
                ours = shapes.get_submodule(layer.place)
                tensors |= match_tensors(record, f"model.{index}", ours, layer.place)
        for their_name, our_name in HEADS[head.kind].further.items():
            place, part = f"model.{len(found.layers) - 1}.{their_name}", child(head, their_name)
            if not isinstance(part, Record):
                raise CheckpointError(f"{place} is missing in {head.kind}")
            tensors |= match_tensors(part, place, shapes.get_submodule(our_name), our_name)
        _check_complete(shapes, tensors, found)
        weights = {name: _read(archive, source) for name, source in tensors.items()}
        sha256 = archive.sha256()
    _use_own_epsilon(weights, tensors)
    model = build(recognised.config).eval()
    own = model.state_dict()
    model.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in weights.items()})
    fixed = 0 if head.kind == "Classify" else 1  # the bins
    return Conversion(model, recognised, found, len(weights) + fixed, sha256)


def _use_own_epsilon(weights: dict[str, Tensor], tensors: Found) -> None:
    """Scale the weights of batch norms whose epsilon differs from ours.

    A batch norm multiplies by weight / sqrt(variance + epsilon). With our epsilon, the scaled weight gives
    the same factor.
    """
    for name, source in tensors.items():
        if source.epsilon not in (None, BN_EPS) and name.endswith(".weight"):
            variance = weights[f"{name.removesuffix('.weight')}.running_var"].double()
            scale = ((variance + BN_EPS) / (variance + source.epsilon)).sqrt()
            weights[name] = (weights[name] * scale).float()


def _check_complete(model: Network, tensors: Found, found: ForeignModel) -> None:
    for name in model.state_dict():
        if name not in tensors:
            raise CheckpointError(f"nothing in the file fills {name} of {model.config.variant}")
    used = {source.path for source in tensors.values()}
    for index, layer in enumerate(found.layers):
        fixed = f"model.{index}.{FIXED_BINS}" if layer is found.layers[-1] else ""
        for path, kind in all_tensors(layer, f"model.{index}"):
            if path not in used and path != fixed:
                raise CheckpointError(f"{path} ({kind}) is one too many: {model.config.variant} lacks it")
    # Tensors may share storages; this check keeps the converted model from being larger than the file.
    stored = [source.stored for source in tensors.values()]
    needed = sum(each.numel * each.storage.dtype.itemsize for each in stored)
    storages = {each.storage.key: each.storage for each in stored}
    held = sum(storage.nbytes for storage in storages.values())
    if needed > held:
        raise CheckpointError(f"the tensors have {needed} bytes, but share {held} bytes of the file")


def _check_outside_weights(archive: Archive, recognised: Recognised, found: ForeignModel) -> None:
    """Raise CheckpointError if the file has unexpected values other than weights.

    The checked values are the settings of upsampling, concatenation and pooling, the strides, and the bins of
    the box distributions.
    """
    for index, layer in enumerate(found.layers):
        layer.require(f"layer {index}", WITHOUT_WEIGHTS.get(layer.kind, {}))
    head, path = found.layers[-1], f"model.{len(found.layers) - 1}"
    if head.kind == "Classify":
        pool = child(head, "pool")
        if not isinstance(pool, Record) or pool.kind != "AdaptiveAvgPool2d":
            raise CheckpointError(f"{path}.pool is no AdaptiveAvgPool2d")
        pool.require(f"{path}.pool", {"output_size": 1})
        return
    _check_numbers(archive, head.get("stride"), f"{path}.stride", STRIDES)
    _check_numbers(archive, child(head, FIXED_BINS), f"{path}.{FIXED_BINS}", range(recognised.config.reg_max))


def _check_numbers(archive: Archive, stored: object, path: str, expected: tuple[int, ...] | range) -> None:
    if not isinstance(stored, StoredTensor):
        raise CheckpointError(f"{path} is missing")
    # The length first: a tensor of another length, however long, is not read.
    if stored.numel != len(expected) or archive.tensor(stored).flatten().tolist() != list(expected):
        raise CheckpointError(f"{path} is not {list(expected)}")


def _read(archive: Archive, source: Source) -> Tensor:
    path, tensor = source.path, archive.tensor(source.stored)
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.float()  # before the check: a finite float64 value may overflow here
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{path} holds NaN or infinite numbers: its training failed")
    if path.endswith(".running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{path} holds a negative variance")
    return tensor

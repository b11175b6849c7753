"""Converts a foreign checkpoint to ours; a tensor without a counterpart in the other model is an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.config import STRIDES
from training.convert.archive import Archive, open_archive
from training.convert.container import ForeignDetector, child, find_detector
from training.convert.keys import FIXED_BINS, Found, all_tensors, match_tensors
from training.convert.layouts import Recognised, recognise
from training.convert.records import StoredTensor
from training.errors import CheckpointError
from training.models.detector import Detector

WITHOUT_WEIGHTS: Mapping[str, Mapping[str, object]] = {
    "Upsample": {"mode": "nearest", "scale_factor": 2, "size": None},
    "Concat": {"d": 1},
}


@dataclass(frozen=True)
class Conversion:
    """Our detector with the weights of a foreign detector, and the origin of these weights."""

    model: Detector
    recognised: Recognised
    found: ForeignDetector
    tensors: int  # number of tensors read from the file
    sha256: str  # hash of the file


def read_foreign(path: Path, input_hw: tuple[int, int] | None = None) -> Conversion:
    """Return a YOLO12 or YOLO-Master detection checkpoint as our detector; no code in the file runs.

    Args:
        path: the .pt file.
        input_hw: height and width of the model input; None: the size that the file was trained at.

    Raises:
        CheckpointError: the file is damaged, malicious or not exactly a known model; the message names the
            part that is wrong.
    """
    with open_archive(path) as archive:
        found = find_detector(archive, input_hw)
        recognised = recognise(found)
        _check_outside_weights(archive, recognised, found)
        with torch.device("meta"):  # allocates nothing, as the sizes are not verified yet
            shapes = Detector(recognised.config)
        tensors: Found = {}
        for index, (layer, record) in enumerate(zip(recognised.layers, found.layers, strict=True)):
            if layer.place:
                ours = shapes.get_submodule(layer.place)
                tensors |= match_tensors(record, f"model.{index}", ours, layer.place)
        _check_complete(shapes, tensors, found)
        weights = {name: _read(archive, *tensor) for name, tensor in tensors.items()}
        sha256 = archive.sha256()
    model = Detector(recognised.config).eval()
    own = model.state_dict()
    model.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in weights.items()})
    return Conversion(model, recognised, found, len(weights) + 1, sha256)  # + 1: the fixed bins


def _check_complete(model: Detector, tensors: Found, found: ForeignDetector) -> None:
    for name in model.state_dict():
        if name not in tensors:
            raise CheckpointError(f"nothing in the file fills {name} of {model.config.variant}")
    used = {path for path, _ in tensors.values()}
    for index, layer in enumerate(found.layers):
        fixed = f"model.{index}.{FIXED_BINS}" if layer is found.layers[-1] else ""
        for path, kind in all_tensors(layer, f"model.{index}"):
            if path not in used and path != fixed:
                raise CheckpointError(f"{path} ({kind}) is one too many: {model.config.variant} lacks it")
    # Tensors may share storages; this check keeps the converted model from being larger than the file.
    needed = sum(stored.numel * stored.storage.dtype.itemsize for _, stored in tensors.values())
    storages = {stored.storage.key: stored.storage for _, stored in tensors.values()}
    held = sum(storage.nbytes for storage in storages.values())
    if needed > held:
        raise CheckpointError(f"the tensors have {needed} bytes, but share {held} bytes of the file")


def _check_outside_weights(archive: Archive, recognised: Recognised, found: ForeignDetector) -> None:
    """Raise CheckpointError if a part of the file that is not a weight has an unexpected value.

    These parts are upsampling, concatenation, strides, and the bins of the box distributions.
    """
    for index, layer in enumerate(found.layers):
        layer.require(f"layer {index}", WITHOUT_WEIGHTS.get(layer.kind, {}))
    head, path = found.layers[-1], f"model.{len(found.layers) - 1}"
    _check_numbers(archive, head.get("stride"), f"{path}.stride", STRIDES)
    _check_numbers(archive, child(head, FIXED_BINS), f"{path}.{FIXED_BINS}", range(recognised.config.reg_max))


def _check_numbers(archive: Archive, stored: object, path: str, expected: tuple[int, ...] | range) -> None:
    if not isinstance(stored, StoredTensor):
        raise CheckpointError(f"{path} is missing")
    # The length first: a tensor of another length, however long, is not read.
    if stored.numel != len(expected) or archive.tensor(stored).flatten().tolist() != list(expected):
        raise CheckpointError(f"{path} is not {list(expected)}")


def _read(archive: Archive, path: str, stored: StoredTensor) -> Tensor:
    tensor = archive.tensor(stored)
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.float()  # before the check: a finite float64 value may overflow here
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{path} holds NaN or infinite numbers: its training failed")
    if path.endswith(".running_var") and bool((tensor < 0).any()):
        raise CheckpointError(f"{path} holds a negative variance")
    return tensor

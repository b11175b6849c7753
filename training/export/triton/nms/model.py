"""Turn a graph's outputs into detections, and count them: the Triton model `<name>-<target>-nms`.

The newest manifest in the model's configuration gives the role of each tensor of the graph. Each request
holds one image. Boxes, keypoints and corners are in pixels of the model input, because only the caller can
map them to its own image. Masks would lose detail by such a mapping, so they are computed in pixels of the
image: the request's parameters image_height and image_width give its size. Without these parameters, masks
are in pixels of the model input, too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import masks
import numpy as np
import rotated
import suppression
import triton_python_backend_utils as pb_utils
import version_1
from numpy.typing import NDArray

# L mixture layers · E experts of the widest layer · M detections

MOST_PIXELS = 100_000  # of a side of the image that masks are made for

METRICS = {
    "sparsight_triton_images_total": "Images answered by Triton.",
    "sparsight_triton_detections_total": "Detections that Triton answered with.",
    "sparsight_triton_expert_activations_total": "Images for which an expert was chosen.",
    "sparsight_triton_expert_gate_weight_total": "Sum of an expert's gates over images.",
}


class BadRequest(Exception):
    """The error for a wrong request; its message says what is allowed."""


class TritonPythonModel:
    """One instance of the model, which Triton creates, and whose methods Triton calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the newest manifest, and create the counters that Triton exports as metrics."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.manifest = newest_manifest(parameters)
        self.names = {row["role"]: row["name"] for row in self.manifest["outputs"]}
        self.counts = Counts(self.manifest)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request separately, so that a wrong request affects no other."""
        responses = []
        for request in requests:
            try:
                detections, gates = detect(request, self.manifest, self.names)
            except BadRequest as error:
                refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
                responses.append(pb_utils.InferenceResponse(error=refusal))
                continue
            self.counts.add(len(detections["scores"]), gates)
            tensors = [pb_utils.Tensor(name, values) for name, values in detections.items()]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses

    def finalize(self) -> None:
        """Delete the metrics, because metrics that exist when the server ends crash this process."""
        self.counts.close()


def newest_manifest(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest of the highest model version in the parameters, converted to schema_version 2."""
    versions = [int(key.partition(".")[2]) for key in parameters if key.startswith("manifest.")]
    return version_1.upgrade(json.loads(parameters[f"manifest.{max(versions)}"]["string_value"]))


def detect(
    request: Any, manifest: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32] | None]:
    """Return the detections by the names of this model's outputs, and the gates (L, E) or None.

    The detections are boxes (M, 4), scores (M,), class_ids (M,), and, if the graph's outputs hold them, masks
    (M,) as COCO run lengths, keypoints (M, P, 3) or corners (M, 4, 2).

    Args:
        names: names of the graph's outputs, by role.

    Raises:
        BadRequest: a parameter is out of its limits, or the request holds more than one image.
    """
    conf, iou, max_det = check_parameters(request, manifest)
    boxes = one_image(request, names["boxes_xyxy"])
    if "class_scores" in names:
        class_scores = one_image(request, names["class_scores"])
        limit = manifest["task_settings"]["candidates"]
        rows, scores, class_ids = suppression.select_candidates(class_scores, limit)
    else:
        scores, class_ids = (one_image(request, names[role]) for role in ("scores", "class_ids"))
        rows = np.arange(len(scores))
    gates = one_image(request, names["gates"]) if "gates" in names else None
    angles = one_image(request, names["angles"]) if "angles" in names else None
    turns = None if angles is None else angles[rows]
    kept = suppression.suppress(boxes[rows], scores, class_ids, conf, iou, max_det, angles=turns)
    rows = rows[kept]
    found = {"boxes": boxes[rows], "scores": scores[kept], "class_ids": class_ids[kept].astype(np.int32)}
    if "mask_coefficients" in names:
        coefficients, prototypes = (one_image(request, names[r]) for r in ("mask_coefficients", "prototypes"))
        stride, input_hw = manifest["task_settings"]["mask_stride"], input_size(manifest)
        found["masks"] = masks.encode_masks(
            coefficients[rows], prototypes, found["boxes"], input_hw, stride, image_size(request) or input_hw
        )
    if "keypoints" in names:
        found["keypoints"] = one_image(request, names["keypoints"])[rows]
    if angles is not None:
        found["corners"] = rotated.corners_of(found["boxes"], angles[rows]).astype(np.float32)
    return {name: np.ascontiguousarray(values) for name, values in found.items()}, gates


def input_size(manifest: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the model input, in pixels."""
    (height, width), *_ = (row["dims"][1:3] for row in manifest["inputs"] if row["role"] == "images")
    return height, width


def image_size(request: Any) -> tuple[int, int] | None:
    """Return the request's parameters image_height and image_width; None if the request has neither.

    Raises:
        BadRequest: one of the two is missing, or is not a whole number within the limits.
    """
    stated = json.loads(request.parameters() or "{}")
    sides = [stated.get(name) for name in ("image_height", "image_width")]
    if sides == [None, None]:
        return None
    for side in sides:
        if type(side) is not int or not 1 <= side <= MOST_PIXELS:
            raise BadRequest(
                f"image_height and image_width are {sides}; give both, whole numbers from 1 to {MOST_PIXELS}"
            )
    height, width = sides
    return height, width


def check_parameters(request: Any, manifest: Mapping[str, Any]) -> tuple[float, float, int]:
    """Return conf, iou and max_det; check them and the controls, which the graph has used unchecked.

    Raises:
        BadRequest: a parameter is NaN or out of its limits.
    """
    conf, iou = number(request, "conf"), number(request, "iou")
    for name, share in (("conf", conf), ("iou", iou)):
        if not 0 <= share <= 1:  # also true for NaN
            raise BadRequest(f"{name} is {share:g}; it must be between 0 and 1")
    max_det = number(request, "max_det")
    if not max_det >= 1:
        raise BadRequest(f"max_det is {max_det}; it must be at least 1")
    for row in manifest["inputs"]:
        if row["role"] == "control":
            check_control(row, number(request, row["name"]))
    return conf, iou, int(max_det)


def check_control(row: Mapping[str, Any], value: float) -> None:
    """Check the value of a control against its row in the manifest; raise BadRequest if it is not allowed."""
    if "allowed" in row:
        if value not in row["allowed"]:
            raise BadRequest(f"{row['name']} is {value:g}; it must be one of {row['allowed']}")
        return
    lowest, highest = row["range"]
    if not lowest <= value <= highest:
        raise BadRequest(f"{row['name']} is {value:g}; it must be between {lowest:g} and {highest:g}")


def tensor(request: Any, name: str) -> NDArray[Any]:
    """Return an input as an array."""
    return np.asarray(pb_utils.get_input_tensor_by_name(request, name).as_numpy())


def number(request: Any, name: str) -> float:
    """Return the number in an input; raise BadRequest if the input holds several."""
    values = tensor(request, name)
    if values.size != 1:
        raise BadRequest(f"{name} holds {values.size} numbers; send one, for one image")
    return values.item()


def one_image(request: Any, name: str) -> NDArray[Any]:
    """Return an input without its batch axis; raise BadRequest if the batch holds several images."""
    values = tensor(request, name)
    if len(values) != 1:
        raise BadRequest(f"{name} holds {len(values)} images; send one a request")
    return np.asarray(values[0])


class Counts:
    """The counters of images, detections and experts. Triton adds up the counters of all instances."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        kind = pb_utils.MetricFamily.COUNTER
        self.families = {
            name: pb_utils.MetricFamily(name=name, description=description, kind=kind)
            for name, description in METRICS.items()
        }
        images, detections, activations, weights = self.families.values()
        labels = {"model": manifest["name"], "version": manifest["version"]}
        self.images, self.detections = images.Metric(labels), detections.Metric(labels)
        self.experts: dict[tuple[int, int], tuple[Any, Any]] = {}  # (row, expert): its two counters
        for layer in manifest["mixture"]:
            for expert in range(layer["num_experts"]):
                which = {**labels, "layer": layer["layer"], "expert": str(expert)}
                self.experts[layer["row"], expert] = (activations.Metric(which), weights.Metric(which))

    def add(self, detections: int, gates: NDArray[np.float32] | None) -> None:
        """Count one image, its detections, and the experts that ran for it."""
        self.images.increment(1)
        self.detections.increment(detections)
        if gates is None:
            return
        for (row, expert), (activations, weights) in self.experts.items():
            gate = float(gates[row, expert])
            if gate > 0:
                activations.increment(1)
                weights.increment(gate)

    def close(self) -> None:
        """Delete all counters, then their families, because Triton requires this order."""
        del self.images, self.detections
        self.experts.clear()
        self.families.clear()

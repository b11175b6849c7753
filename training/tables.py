"""What the commands print: results and tables, for people and for machines."""

import json

import torch

from training.evaluate.evaluator import Evaluation
from training.evaluate.mean_ap import COCO_MAX_DETECTIONS, MeanAp
from training.models.cost import measure_cost
from training.models.depthwise_timing import time_backward
from training.models.detector import Detector, count_parameters
from training.models.variants import VARIANTS, model_config


def evaluation_report(mean_ap: MeanAp, images: int, evaluation: Evaluation | None = None) -> str:
    """The result for people."""
    lines = [
        f"{images} images   mAP50 {mean_ap.map50:.4f}   mAP50-95 {mean_ap.map50_95:.4f}"
        f"   mAP75 {mean_ap.map75:.4f}",
        f"(conf 0.001, NMS IoU 0.7, max_det 300, of which COCO scores the best {COCO_MAX_DETECTIONS})",
    ]
    width = max(len(name) for name in mean_ap.map50_by_class)
    for name, value in mean_ap.map50_by_class.items():
        lines.append(f"  {name:<{width}}  mAP50 {value:.4f}   mAP50-95 {mean_ap.map50_95_by_class[name]:.4f}")
    for use in evaluation.experts if evaluation else []:
        shares = "  ".join(f"{share:4.0%}" for share in use.expert_share)
        lines.append(
            f"  {use.layer}: {use.information_bits:.3f} bit, {use.distinct_sets} sets of experts, "
            f"chosen {shares}"
        )
    return "\n".join(lines)


def evaluation_json(mean_ap: MeanAp, images: int, evaluation: Evaluation | None = None) -> str:
    """The result for machines."""
    experts = [vars(use) for use in evaluation.experts] if evaluation else None
    return json.dumps({"images": images, **mean_ap._asdict(), "experts": experts})


def variants_table() -> str:
    """Parameters and GFLOPs of every variant, 80 classes, 640 × 640."""
    class_names = tuple(f"class {index}" for index in range(80))
    lines = [f"{'variant':<12}{'parameters':>12}{'GFLOPs dense':>14}{'at top_k':>10}"]
    for variant in VARIANTS:
        model = Detector(model_config(variant, class_names, (640, 640)))
        cost = measure_cost(model)
        top_k = int(model.default_controls().top_k)
        lines.append(
            f"{variant:<12}{count_parameters(model):>12,}{cost.dense:>14.2f}{cost.at_top_k(top_k):>10.2f}"
        )
    return "\n".join(lines)


def depthwise_table() -> str:
    """Why wide depthwise kernels have their own backward pass: both, timed in turn."""
    lines = [f"depthwise forward and backward, (4, 64, 160, 160), {torch.get_num_threads()} threads"]
    for dtype in (torch.float32, torch.bfloat16):
        for kernel in (5, 7, 9):
            plain, strips = time_backward(kernel, dtype, (4, 64, 160, 160))
            name = str(dtype).removeprefix("torch.")
            lines.append(
                f"  {name:<9} {kernel}×{kernel}: torch {plain * 1e3:6.1f} ms, strips {strips * 1e3:6.1f} ms, "
                f"{plain / strips:4.1f} times as fast"
            )
    return "\n".join(lines)

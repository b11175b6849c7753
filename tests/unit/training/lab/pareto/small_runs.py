"""Folders of finished runs with small untrained detectors, and images on which their mAP differs."""

from dataclasses import replace
from pathlib import Path

import cv2
import torch

from tests.training_builders import diverse_images
from training.config import TrainConfig
from training.config_json import to_json
from training.data_config import ScenesConfig
from training.models.detector import Detector
from training.trainer.checkpoint import CONFIG_FILE, MODEL_FILE, save_model

EPOCHS = 2


def write_run(
    folder: Path, model: Detector, *, seed: int = 0, epoch: int = EPOCHS, **settings: object
) -> Path:
    """Write the folder of a run, whose head is disturbed by noise that depends on the seed; return it."""
    folder.mkdir(parents=True)
    config = TrainConfig(model=model.config, train_data=ScenesConfig(), epochs=EPOCHS, seed=seed)
    (folder / CONFIG_FILE).write_text(to_json(replace(config, **settings)), encoding="utf-8")
    before = {name: values.clone() for name, values in model.head.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.head.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.05 * seed * noise * parameter.std(unbiased=False))
    save_model(folder / MODEL_FILE, model, {"epoch": str(epoch), "data": "made"})
    model.head.load_state_dict(before)
    return folder


def write_data(root: Path, model: Detector, images: int = 4) -> Path:
    """Write a YOLO folder of images, with what a model answers for them as labels; return it."""
    torch.manual_seed(1)
    pixels = diverse_images(images)
    with torch.inference_mode():
        boxes, scores = model.decode(model(pixels))
    for kind in ("images", "labels"):
        (root / kind / "val").mkdir(parents=True)
    names = list(model.config.class_names)
    (root / "data.yaml").write_text(f"val: images/val\nnames: {names}\n", encoding="utf-8")
    for index in range(images):
        cv2.imwrite(str(root / "images" / "val" / f"{index}.png"), pixels[index].numpy()[..., ::-1])
        best = scores[index].amax(dim=-1).argsort(descending=True)[:3]
        rows = []
        for anchor in best:
            left, top, right, bottom = (boxes[index, anchor].clamp(0, 64) / 64).tolist()
            box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            rows.append(f"{int(scores[index, anchor].argmax())} {' '.join(f'{each:.5f}' for each in box)}")
        (root / "labels" / "val" / f"{index}.txt").write_text("\n".join(rows), encoding="utf-8")
    return root

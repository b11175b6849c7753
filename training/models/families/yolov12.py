"""YOLOv12 (arXiv:2502.12524), without mixtures."""

from training.models.families.family import Family

YOLOV12 = Family(name="yolov12", sizes="nsmlx", tasks=("detect", "classify"))

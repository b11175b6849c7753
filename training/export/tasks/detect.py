"""Detection: boxes."""

from training.evaluate.objects.boxes import BOXES
from training.export.tasks.objects import object_task

DETECT = object_task(BOXES)

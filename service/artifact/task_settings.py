"""Define the manifest's `task_settings`, with one class for each value of `task`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from service.artifact.tensors import Part, Positive

TaskName = Literal["detect", "classify"]
Sizes = tuple[int, ...]  # of an output, behind the batch
Share = Annotated[float, Field(ge=0, le=1)]


class DetectDefaults(Part):
    """The defaults of a detection request for the parameters that it does not give."""

    conf: Share
    iou: Share
    max_det: Positive


class DetectSettings(Part):
    """The detection settings: where the N best (anchor, class) pairs are selected, N, and the defaults."""

    resize_mode: ClassVar[str] = "letterbox"

    selection: Literal["graph", "service"]
    candidates: Positive
    defaults: DetectDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        found = ("scores", "class_ids") if self.selection == "graph" else ("class_scores",)
        return ("boxes_xyxy", *found)

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return what the sizes of the task's outputs must be, by role.

        Args:
            given: what they are; the needed roles are there.
            classes: how many the model tells apart.
        """
        rows = given["boxes_xyxy"][:1] or (1,)
        per_row: dict[str, Sizes] = {
            "boxes_xyxy": (4,),
            "scores": (),
            "class_ids": (),
            "class_scores": (classes,),
        }
        return {role: (*rows, *sizes) for role, sizes in per_row.items() if role in given}

    def roles_in_place(self) -> tuple[str, ...]:
        """Return no role: candidates may swap places where scores are equal."""
        return ()


class ClassifyDefaults(Part):
    """The defaults of a classification request for the parameters that it does not give."""

    top: Positive


class ClassifySettings(Part):
    """The classification settings: the defaults of a request."""

    resize_mode: ClassVar[str] = "center_crop"

    defaults: ClassifyDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return ("probabilities",)

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return what the sizes of the task's outputs must be, by role; as of DetectSettings."""
        return {"probabilities": (classes,)}

    def roles_in_place(self) -> tuple[str, ...]:
        """Return the roles whose numbers have a place of their own, so that a replay compares one by one."""
        return ("probabilities",)


TaskSettings = DetectSettings | ClassifySettings

SETTINGS_OF: dict[TaskName, type[TaskSettings]] = {"detect": DetectSettings, "classify": ClassifySettings}

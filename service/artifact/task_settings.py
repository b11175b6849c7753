"""What each task needs to know beside its tensors: one class for each value of `task`."""

from typing import Annotated, Literal

from pydantic import Field

from service.artifact.tensors import Part, Positive

Share = Annotated[float, Field(ge=0, le=1)]


class DetectDefaults(Part):
    """What a request for boxes gets that does not say."""

    conf: Share
    iou: Share
    max_det: Positive


class DetectSettings(Part):
    """Who selects the N best (anchor, class) pairs, and N."""

    selection: Literal["graph", "service"]
    candidates: Positive
    defaults: DetectDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs without which the task cannot be done."""
        found = ("scores", "class_ids") if self.selection == "graph" else ("class_scores",)
        return ("boxes_xyxy", *found)


class ClassifyDefaults(Part):
    """What a request for classes gets that does not say."""

    top: Positive


class ClassifySettings(Part):
    """The best classes of an image."""

    defaults: ClassifyDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs without which the task cannot be done."""
        return ("probabilities",)


TaskSettings = DetectSettings | ClassifySettings

SETTINGS_OF: dict[str, type[TaskSettings]] = {"detect": DetectSettings, "classify": ClassifySettings}

"""Define the manifest's `task_settings`, with one class for each value of `task`."""

from typing import Annotated, Literal

from pydantic import Field

from service.artifact.tensors import Part, Positive

Share = Annotated[float, Field(ge=0, le=1)]


class DetectDefaults(Part):
    """The defaults of a detection request for the parameters that it does not give."""

    conf: Share
    iou: Share
    max_det: Positive


class DetectSettings(Part):
    """The detection settings: where the N best (anchor, class) pairs are selected, N, and the defaults."""

    selection: Literal["graph", "service"]
    candidates: Positive
    defaults: DetectDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        found = ("scores", "class_ids") if self.selection == "graph" else ("class_scores",)
        return ("boxes_xyxy", *found)


class ClassifyDefaults(Part):
    """The defaults of a classification request for the parameters that it does not give."""

    top: Positive


class ClassifySettings(Part):
    """The classification settings: the defaults of a request."""

    defaults: ClassifyDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return ("probabilities",)


TaskSettings = DetectSettings | ClassifySettings

SETTINGS_OF: dict[str, type[TaskSettings]] = {"detect": DetectSettings, "classify": ClassifySettings}

"""Define the manifest's `task_settings`, with one class for each value of `task`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from service.artifact.tensors import Part, Positive

TaskName = Literal["detect", "classify", "segment", "pose", "obb"]
Sizes = tuple[int, ...]  # the dimensions of an output after the batch dimension
Share = Annotated[float, Field(ge=0, le=1)]
NotNegativeInt = Annotated[int, Field(ge=0)]


class DetectDefaults(Part):
    """The default parameters of a detection request."""

    conf: Share
    iou: Share
    max_det: Positive


class DetectSettings(Part):
    """The settings of a detector.

    `selection` says whether the graph or the service selects the best (anchor, class) pairs. `candidates` is
    the number of selected pairs.
    """

    resize_mode: ClassVar[str] = "letterbox"
    further_params: ClassVar[tuple[str, ...]] = ("agnostic_nms",)  # that requests may set; no defaults

    selection: Literal["graph", "service"]
    candidates: Positive
    defaults: DetectDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        found = ("scores", "class_ids") if self.selection == "graph" else ("class_scores",)
        return ("boxes_xyxy", *found)

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return the sizes that the task's outputs must have, by role.

        Args:
            given: the sizes that the manifest lists, by role; every needed role is present.
            classes: number of the model's classes.
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
        """Return the roles of the task's outputs that can be compared value by value: none for a detector.

        A detector's candidates with equal scores can swap places, so the same row can hold different
        candidates in two correct runs.
        """
        return ()


class ClassifyDefaults(Part):
    """The default parameters of a classification request."""

    top: Positive


class ClassifySettings(Part):
    """The settings of a classifier."""

    resize_mode: ClassVar[str] = "center_crop"
    further_params: ClassVar[tuple[str, ...]] = ()

    defaults: ClassifyDefaults

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return ("probabilities",)

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return the sizes that the task's outputs must have, by role; see DetectSettings.sizes."""
        return {"probabilities": (classes,)}

    def roles_in_place(self) -> tuple[str, ...]:
        """Return the roles of the task's outputs that can be compared value by value."""
        return ("probabilities",)


class SegmentSettings(DetectSettings):
    """The settings of a segmenter: the settings of a detector, and the size of its prototypes."""

    further_params: ClassVar[tuple[str, ...]] = ("agnostic_nms", "masks")

    mask_stride: Positive  # width of a prototype's cell, in pixels of the model input
    prototypes: Positive

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return (*super().needed_roles(), "mask_coefficients", "prototypes")

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return the sizes that the task's outputs must have, by role; see DetectSettings.sizes."""
        rows = given["boxes_xyxy"][:1] or (1,)
        cells = given["prototypes"][1:3] if len(given["prototypes"]) == 3 else (1, 1)
        return super().sizes(given, classes) | {
            "mask_coefficients": (*rows, self.prototypes),
            "prototypes": (self.prototypes, *cells),
        }


class PoseSettings(DetectSettings):
    """The settings of a pose model: a detector's settings, the names of the keypoints, and the skeleton."""

    keypoints: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    skeleton: tuple[tuple[NotNegativeInt, NotNegativeInt], ...]  # pairs of keypoints to join with a line

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return (*super().needed_roles(), "keypoints")

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return the sizes that the task's outputs must have, by role; see DetectSettings.sizes."""
        rows = given["boxes_xyxy"][:1] or (1,)
        return super().sizes(given, classes) | {"keypoints": (*rows, len(self.keypoints), 3)}

    @model_validator(mode="after")
    def _lines_join_known_keypoints(self) -> Self:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError("keypoints: a name appears twice")
        for line in self.skeleton:
            if max(line) >= len(self.keypoints):
                raise ValueError(f"skeleton: {list(line)} names a keypoint that does not exist")
        return self


class OrientedSettings(DetectSettings):
    """The settings of a detector of rotated boxes."""

    def needed_roles(self) -> tuple[str, ...]:
        """Return the roles of the outputs that the task requires."""
        return (*super().needed_roles(), "angles")

    def sizes(self, given: Mapping[str, Sizes], classes: int) -> dict[str, Sizes]:
        """Return the sizes that the task's outputs must have, by role; see DetectSettings.sizes."""
        return super().sizes(given, classes) | {"angles": given["boxes_xyxy"][:1] or (1,)}


TaskSettings = DetectSettings | ClassifySettings | SegmentSettings | PoseSettings | OrientedSettings

SETTINGS_OF: dict[TaskName, type[DetectSettings] | type[ClassifySettings]] = {
    "detect": DetectSettings,
    "classify": ClassifySettings,
    "segment": SegmentSettings,
    "pose": PoseSettings,
    "obb": OrientedSettings,
}

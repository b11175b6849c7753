"""Parse an artifact's report on what each expert and path serves, as strictly as experts.schema.json."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from service.artifact.manifest import Manifest
from service.artifact.task_settings import Share
from service.artifact.tensors import Part, Positive
from service.errors import ArtifactBroken

GroupingName = Literal["origin", "density", "class"]
Shares = tuple[Share, ...]  # one for each expert


class Group(Part):
    """A group of images, for example those of one data set, and their number."""

    label: Annotated[str, Field(min_length=1)]
    images: Positive


class Grouping(Part):
    """Groups of images: by origin, by number of labelled objects (density), or by the classes in an image."""

    name: GroupingName
    groups: Annotated[tuple[Group, ...], Field(min_length=2)]


class ReportControls(Part):
    """The controls with which the images were routed."""

    top_k: Positive
    weight_threshold: Share


class LayerReport(Part):
    """How often a mixture layer chose each expert: for all images, and for the images of each group."""

    layer: str
    expert_share: Annotated[Shares, Field(min_length=1)]
    shares: dict[GroupingName, tuple[Shares, ...]]


class PathsReport(Part):
    """How often each path was taken: for all images, and for the images of each group."""

    path_share: Annotated[Shares, Field(min_length=1)]
    shares: dict[GroupingName, tuple[Shares, ...]]


class ExpertsReport(Part):
    """What each expert of a model serves, measured with labelled images when the model was exported."""

    schema_version: Annotated[int, Field(ge=1, le=1)]
    data: str
    images: Positive
    controls: ReportControls
    groupings: tuple[Grouping, ...]
    layers: Annotated[tuple[LayerReport, ...], Field(min_length=1)]
    paths: PathsReport | None = None  # of an artifact with paths

    @model_validator(mode="after")
    def _shares_are_those_of_the_groupings(self) -> Self:
        groups = {each.name: len(each.groups) for each in self.groupings}
        tables = [(layer.layer, "expert", layer.expert_share, layer.shares) for layer in self.layers]
        if self.paths is not None:
            tables.append(("paths", "path", self.paths.path_share, self.paths.shares))
        for owner, what, whole, shares in tables:
            if {name: len(rows) for name, rows in shares.items()} != groups:
                raise ValueError(f"{owner}: shares must have one row for each group of the groupings")
            if {len(row) for rows in shares.values() for row in rows} - {len(whole)}:
                raise ValueError(f"{owner}: a row of shares must have one number for each {what}")
        return self


def read_experts_report(folder: Path, manifest: Manifest) -> ExpertsReport | None:
    """Return the report in the folder of an artifact's version; None if the manifest names none.

    Raises:
        ArtifactBroken: the file cannot be read, is invalid, or is for other layers than the manifest's.
    """
    if manifest.experts_report is None:
        return None
    path = folder / manifest.experts_report
    try:
        report = ExpertsReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactBroken(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactBroken(f"{path}: {field}: {first['msg']}") from error
    found = [(layer.layer, len(layer.expert_share)) for layer in report.layers]
    expected = [(layer.layer, layer.num_experts) for layer in manifest.mixture]
    if found != expected:
        raise ArtifactBroken(f"{path} is for the layers {_text(found)}; the manifest has {_text(expected)}")
    return report


def _text(layers: list[tuple[str, int]]) -> str:
    return ", ".join(f"{layer} with {experts} experts" for layer, experts in layers)

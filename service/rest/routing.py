"""Define the routes that show how recent images were routed, and that forget them."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.request import Number
from service.rest.admin import check_admin
from service.rest.describe import RELOAD, WRONG_PARAMETER
from service.rest.service_of import service_of
from service.routing.monitor import Event, RoutingMonitor, WatchedVersion
from service.routing.reference import Layers
from service.routing.statistics import diversity, jain
from service.routing.watch import PATH, Watch
from service.types import DriftTest

router = APIRouter()
_JSONL = "application/jsonl"


class ExpertUse(BaseModel):
    """The use of one expert among recent images, beside the baseline."""

    expert: int
    share: Annotated[float, Field(description="Share of the images that chose this expert.")]
    baseline_share: float
    dead: Annotated[bool, Field(description="Not chosen for so long that chance does not explain it.")]
    hot: Annotated[bool, Field(description="Chosen far more often than in the baseline.")]


class LayerUse(BaseModel):
    """The routing of recent images in one layer, or in all layers together (`path`)."""

    layer: str
    drift_bits: Annotated[float, Field(description="Jensen-Shannon divergence of the chosen sets, 0 to 1.")]
    pvalue: Annotated[
        float, Field(description="Chance of such a difference within ten million images without drift.")
    ]
    experts: Annotated[list[ExpertUse], Field(description="Empty for the path.")] = []
    together: Annotated[
        list[list[float]],
        Field(description="Share of the images that chose both expert i and expert j; empty for the path."),
    ] = []
    entropy_bits: float | None = None
    baseline_entropy_bits: float | None = None
    entropy_outside: Annotated[bool, Field(description="Whether the entropy is unlike the baseline's.")] = (
        False
    )
    diversity: Annotated[float | None, Field(description="exp(H)/N of the shares: 1 if all are equal.")] = (
        None
    )
    balance: Annotated[float | None, Field(description="Jain's index of the shares: 1 if all are equal.")] = (
        None
    )


class SettingUse(BaseModel):
    """The routing of recent images at one setting of the controls."""

    controls: dict[str, Number]
    images: Annotated[int, Field(description="Images with these controls since the last reset.")]
    window: Annotated[int, Field(description="Images that the figures of the layers are about.")]
    novelty: Annotated[float, Field(description="Mean rank among the baseline's images; 0.5 without drift.")]
    drift: Annotated[DriftTest | None, Field(description="What differs; null: nothing.")]
    drift_layer: str | None
    layers: list[LayerUse]


class RoutingEvent(BaseModel):
    """The beginning or the end of a drift."""

    at: datetime
    state: Literal["normal", "drifting"]
    controls: dict[str, Number]
    layer: str | None
    test: DriftTest | None


class VersionRouting(BaseModel):
    """The routing of the images that one version answered on one backend."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    version: str
    backend: str
    state: Literal["normal", "drifting"]
    since: Annotated[datetime, Field(description="Time of the first image since the last reset.")]
    baseline: Annotated[str, Field(description="Data of the baseline; empty if there is none.")]
    not_compared: Annotated[str, Field(description="Why no image is compared; empty if images are.")]
    judged: Annotated[int, Field(description="Images that were compared with the baseline.")]
    unjudged: Annotated[int, Field(description="Images whose controls have no baseline.")]
    settings: list[SettingUse]
    events: Annotated[list[RoutingEvent], Field(description="The latest changes, oldest first.")]


class RoutingReport(BaseModel):
    """The routing of recent images, for every version that has answered one."""

    versions: list[VersionRouting]


@router.get(
    "/routing",
    response_model=RoutingReport,
    responses={200: {"content": {_JSONL: {}}}, **WRONG_PARAMETER},
    summary="How recent images are routed, beside the baseline.",
    tags=["operation"],
)
async def routing_route(
    request: Request,
    format: Annotated[  # the name of the parameter
        Literal["json", "jsonl"],
        Query(description="json; or jsonl, with one line for each layer of each setting, for a table."),
    ] = "json",
) -> Any:
    """Return the use of every expert among the latest images, and whether it differs from the baseline."""
    report = _report(request.app.state.routing)
    if format == "json":
        return report
    return Response("".join(f"{line}\n" for line in _lines(report)), media_type=_JSONL)


@router.post(
    "/routing/reset",
    status_code=204,
    responses={code: text for code, text in RELOAD.items() if code in (401, 403)},
    summary="Forget the images so far. Needs the administrator's token.",
    tags=["operation"],
)
async def reset_route(request: Request) -> None:
    """Forget all images, so that routing is normal until new images show a drift."""
    check_admin(request, service_of(request).settings)
    request.app.state.routing.reset()


def _report(monitor: RoutingMonitor) -> RoutingReport:
    return RoutingReport(versions=[_version(watched) for watched in monitor])


def _version(watched: WatchedVersion) -> VersionRouting:
    manifest = watched.manifest
    measured = manifest.baseline.routing if manifest.baseline else None
    return VersionRouting(
        model=manifest.name,
        version=manifest.version,
        backend=watched.version.backend_name,
        state="drifting" if watched.verdict.state == "drifting" else "normal",
        since=watched.since,
        baseline=measured.data if measured else "",
        not_compared=watched.why_unwatched,
        judged=watched.judged,
        unjudged=watched.unjudged,
        settings=[_setting(watch, watched.layers) for watch in watched.watches.values() if watch.count],
        events=[_event(event) for event in watched.events],
    )


def _event(event: Event) -> RoutingEvent:
    alarm = event.alarm
    return RoutingEvent(
        at=event.at,
        state=event.state,
        controls=dict(event.controls),
        layer=alarm.layer if alarm else None,
        test=alarm.test if alarm else None,
    )


def _setting(watch: Watch, layers: Layers) -> SettingUse:
    path = watch.states[PATH]
    return SettingUse(
        controls=dict(watch.reference.controls),
        images=watch.count,
        window=watch.looked_at,
        novelty=_rounded(watch.window.novelty),
        drift=watch.alarm.test if watch.alarm else None,
        drift_layer=watch.alarm.layer if watch.alarm else None,
        layers=[
            *(_layer(watch, layers, place) for place in range(len(layers.names))),
            LayerUse(layer=PATH, drift_bits=_rounded(path.drift_bits), pvalue=path.pvalue),
        ],
    )


def _layer(watch: Watch, layers: Layers, place: int) -> LayerUse:
    name = layers.names[place]
    state, reference, dead = watch.states[name], watch.reference, watch.dead[place]
    return LayerUse(
        layer=name,
        drift_bits=_rounded(state.drift_bits),
        pvalue=state.pvalue,
        experts=[
            ExpertUse(
                expert=expert,
                share=_rounded(share),
                baseline_share=_rounded(reference.shares[place][expert]),
                dead=expert in dead,
                hot=expert in state.hot,
            )
            for expert, share in enumerate(state.shares.tolist())
        ],
        together=[[_rounded(each) for each in row] for row in state.together.tolist()],
        entropy_bits=_rounded(state.entropy_bits),
        baseline_entropy_bits=_rounded(reference.entropy_bits[place][0]),
        entropy_outside=state.entropy_outside,
        diversity=_rounded(diversity(state.shares)),
        balance=_rounded(jain(state.shares)),
    )


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _lines(report: RoutingReport) -> Iterator[str]:
    """Yield a JSON object for each layer of each setting."""
    for version in report.versions:
        head = version.model_dump(mode="json", include={"model", "version", "backend", "state", "since"})
        for setting in version.settings:
            about = setting.model_dump(mode="json", include={"controls", "images", "window", "novelty"})
            for layer in setting.layers:
                yield json.dumps({**head, **about, **layer.model_dump(mode="json")})

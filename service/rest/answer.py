"""Build the HTTP API's answers from the service's results."""

from collections.abc import Collection, Mapping

from service.artifact.manifest import Manifest
from service.artifact.task_settings import PoseSettings
from service.errors import NotReady
from service.observe.protocol import Answered
from service.rest import wire
from service.rest.explained import to_explanation
from service.serving.models import Models
from service.tasks.choose import task_of
from service.tasks.pose import skeleton_of
from service.traffic.routes import Route
from service.types import ExpertActivation, RoutingVerdict, Timings

STATIC_ROUTING = (
    "Routing is static: this model's routers choose the same experts for every image, "
    "so the experts say nothing about this image."
)
DRIFTING_ROUTING = (
    "Routing is drifting: recent images are routed unlike those that the model was measured on, so its "
    "answers may be worse than its figures; moe.drift and GET /routing say what differs."
)
_REMARKS = {"static": (STATIC_ROUTING,), "drifting": (DRIFTING_ROUTING,)}
_TOP_K = "top_k"  # the control that the answer reports


def to_answer(found: Answered, *, moe: str) -> wire.Answer:
    """Return the API's answer for one image; `moe` (summary, full or off) selects the expert details."""
    version, manifest = found.version, found.version.manifest
    height, width = found.image_hw
    remarks = _REMARKS.get(found.routing.state, ()) if moe != "off" else ()
    answer = wire.Answer(
        id=found.context.request_id,
        model=wire.ModelRef(
            name=manifest.name,
            version=manifest.version,
            sha256=version.sha256,
            backend=version.backend_name,
            backend_reason=found.reason,
            precision=manifest.precision,
        ),
        image=wire.ImageSize(width=width, height=height),
        predictions=list(task_of(manifest).describe(found.result)),
        timing_ms=_timing_ms(found.timings),
        warnings=[*found.notes, *remarks],
    )
    if (skeleton := skeleton_of(manifest)) is not None:
        answer.skeleton = skeleton
    if found.explanation is not None:
        answer.explanation = to_explanation(found.explanation)
        answer.timing_ms.total = round(answer.timing_ms.total + answer.explanation.ms, 2)
    if moe != "off":
        answer.moe = wire.Moe(
            layers=[_layer(layer, full=moe == "full") for layer in found.experts],
            top_k=_top_k(found),
            gflops=wire.GflopsUse(
                used=round(found.compute.used_gflops, 6), dense=round(found.compute.dense_gflops, 6)
            ),
            degraded=found.degraded,
            routing=found.routing.state,
        )
        if found.path is not None:
            taken = found.path
            answer.moe.path = wire.PathTaken(index=taken.index, probability=round(taken.probability, 6))
        if (drift := _drift(found.routing)) is not None:
            answer.moe.drift = drift
    return answer


def to_model_list(models: Models) -> wire.ModelList:
    """Return a description of every model that has a version on at least one backend.

    Raises:
        NotReady: no backend has a model yet.
    """
    described = [info for name in models.names if (info := _model_info(models.routes(name))) is not None]
    if models.default is None or not described:
        raise NotReady(models.why_not_ready() or "there is no model yet")
    broken = [
        wire.BrokenInfo(name=name, backend=backend, why=why)
        for backend, by_name in models.broken.items()
        for name, why in by_name.items()
    ]
    return wire.ModelList(default=models.default, models=described, broken=broken)


def _top_k(found: Answered) -> int | None:
    value = found.params.controls.get(_TOP_K)
    return None if value is None else int(value)


def _drift(verdict: RoutingVerdict) -> wire.Drift | None:
    if verdict.layer is None or verdict.test is None or verdict.since is None:
        return None
    return wire.Drift(
        layer=verdict.layer, test=verdict.test, since=verdict.since.isoformat(timespec="milliseconds")
    )


def _layer(layer: ExpertActivation, *, full: bool) -> wire.LayerActivation:
    row = wire.LayerActivation(
        layer=layer.layer,
        experts=layer.num_experts,
        active=list(layer.active),
        weights=[round(weight, 6) for weight in layer.weights],
        entropy_bits=round(layer.entropy_bits, 6),
    )
    if full:
        row.probabilities = [round(probability, 6) for probability in layer.probabilities]
    return row


def _timing_ms(timings: Timings) -> wire.TimingMs:
    def ms(seconds: float) -> float:
        return round(seconds * 1000, 2)

    told = wire.TimingMs(
        decode=ms(timings.decode_s),
        queue=ms(timings.queue_s),
        preprocess=ms(timings.preprocess_s),
        infer=ms(timings.infer_s),
        postprocess=ms(timings.postprocess_s),
        total=ms(timings.total_s),
    )
    if timings.router_s is not None:
        told.router = ms(timings.router_s)
    return told


def _model_info(routes: Mapping[str, Route]) -> wire.ModelInfo | None:
    described = _described(routes.values())
    if described is None:
        return None
    manifest, sha256 = described
    height, width = manifest.images.canvas_hw
    settings = manifest.task_settings
    pose = settings if isinstance(settings, PoseSettings) else None
    return wire.ModelInfo(
        name=manifest.name,
        version=manifest.version,
        variant=manifest.variant,
        target=manifest.target,
        sha256=sha256,
        precision=manifest.precision,
        execution=manifest.execution,
        routing=manifest.routing,
        backends=[name for name, route in routes.items() if route.current is not None],
        versions=_versions(routes),
        input=wire.InputSize(width=width, height=height),
        classes=list(manifest.class_names),
        task=manifest.task,
        drawn_as=task_of(manifest).drawn_as,
        keypoints=None if pose is None else list(pose.keypoints),
        skeleton=skeleton_of(manifest),
        defaults=manifest.task_settings.defaults.model_dump()
        | {row.name: row.default for row in manifest.controls},
        controls=_controls(manifest),
        top_k=_top_k_choice(manifest),
        mixture=[
            wire.LayerInfo(
                layer=layer.layer,
                num_experts=layer.num_experts,
                expert_gflops=list(layer.expert_gflops),
                information_bits=layer.information_bits,
                expert_share=None if layer.expert_share is None else list(layer.expert_share),
            )
            for layer in manifest.mixture
        ],
        experts_report=manifest.experts_report is not None,
        gflops={"fixed": manifest.gflops.fixed, "dense": manifest.gflops.dense},
        metrics=dict(manifest.provenance.metrics),
        data=manifest.provenance.data,
        attribution=manifest.provenance.attribution,
    )


def _described(routes: Collection[Route]) -> tuple[Manifest, str] | None:
    """Return the manifest and sha256 of the version that describes a model in the list of models.

    This version is the one that would now answer a request with backend `auto`. If no version could answer,
    it is any version that a backend has reported. Return None if no backend has reported a version.
    """
    in_force = [
        (not route.healthy, route.breaker.state, route.current)
        for route in routes
        if route.current is not None
    ]
    if in_force:
        *_, version = min(in_force, key=lambda one: one[:2])  # the first route that answers
        return version.manifest, version.sha256
    statuses = [status for route in routes for status in route.statuses]
    return (statuses[-1].manifest, statuses[-1].sha256) if statuses else None


def _versions(routes: Mapping[str, Route]) -> list[wire.VersionInfo]:
    return [
        wire.VersionInfo(
            backend=name,
            version=status.manifest.version,
            target=status.manifest.target,
            precision=status.manifest.precision,
            sha256=status.sha256,
            state="quarantined" if status.sha256 in route.quarantined else status.state,
            why=route.quarantined.get(status.sha256, status.why),
        )
        for name, route in routes.items()
        for status in route.statuses
    ]


def _controls(manifest: Manifest) -> list[wire.ControlInfo]:
    return [
        wire.ControlInfo(
            name=row.name,
            default=row.default,
            allowed=None if row.allowed is None else sorted(row.allowed),
            range=row.range,
        )
        for row in manifest.controls
    ]


def _top_k_choice(manifest: Manifest) -> wire.TopKChoice | None:
    for row in manifest.controls:
        if row.name == _TOP_K and row.allowed is not None:
            return wire.TopKChoice(allowed=sorted(row.allowed), default=int(row.default))
    return None

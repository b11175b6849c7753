"""From what the pipeline found to what is sent."""

from collections.abc import Collection, Mapping

from service.artifact.manifest import Manifest, TopKSpec
from service.errors import NotReady
from service.pipeline.run import Detected
from service.rest import wire
from service.serving.models import Models
from service.traffic.lanes import Lane
from service.types import Detections, ExpertActivation, Timings

STATIC_ROUTING = (
    "Routing is static: what this model's routers say does not depend on the image, "
    "so it says nothing about this one."
)


def to_answer(request_id: str, found: Detected, *, moe: str) -> wire.Answer:
    """Build the answer for one image; `moe` is summary, full or off."""
    offer = found.choice.offer
    manifest = offer.manifest
    height, width = found.image_hw
    answer = wire.Answer(
        id=request_id,
        model=wire.ModelRef(
            name=manifest.name,
            version=manifest.version,
            sha256=offer.sha256,
            backend=offer.backend_name,
            backend_reason=found.choice.reason,
            precision=manifest.precision,
        ),
        image=wire.ImageSize(width=width, height=height),
        predictions=_predictions(found.detections, manifest.class_names),
        timing_ms=_timing_ms(found.timings),
        warnings=[STATIC_ROUTING] if manifest.routing == "static" and moe != "off" else [],
    )
    if moe != "off":
        answer.moe = wire.Moe(
            layers=[_layer(layer, full=moe == "full") for layer in found.experts],
            top_k=found.options.top_k,
            gflops=wire.GflopsUse(
                used=round(found.compute.used_gflops, 6), dense=round(found.compute.dense_gflops, 6)
            ),
            degraded=False,
            routing=manifest.routing,
        )
    return answer


def to_model_list(models: Models) -> wire.ModelList:
    """Describe every model of which some backend has a version.

    Raises:
        NotReady: there is none yet.
    """
    described = [info for name in models.names if (info := _model_info(models.lanes(name))) is not None]
    if models.default is None or not described:
        raise NotReady(models.why_not_ready() or "there is no model yet")
    return wire.ModelList(default=models.default, models=described)


def _predictions(detections: Detections, class_names: tuple[str, ...]) -> list[wire.Prediction]:
    rows = zip(
        detections.boxes_xyxy.astype(float).tolist(),
        detections.scores.astype(float).tolist(),
        detections.class_ids.tolist(),
        strict=True,
    )
    return [
        wire.Prediction(
            x=round((left + right) / 2, 3),
            y=round((top + bottom) / 2, 3),
            width=round(right - left, 3),
            height=round(bottom - top, 3),
            class_name=class_names[class_id],
            class_id=class_id,
            confidence=round(score, 6),
        )
        for (left, top, right, bottom), score, class_id in rows
    ]


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

    return wire.TimingMs(
        decode=ms(timings.decode_s),
        queue=ms(timings.queue_s),
        preprocess=ms(timings.preprocess_s),
        infer=ms(timings.infer_s),
        postprocess=ms(timings.postprocess_s),
        total=ms(timings.total_s),
    )


def _model_info(lanes: Mapping[str, Lane]) -> wire.ModelInfo | None:
    described = _described(lanes.values())
    if described is None:
        return None
    manifest, sha256 = described
    top_k, threshold = manifest.controls.top_k, manifest.controls.weight_threshold
    return wire.ModelInfo(
        name=manifest.name,
        version=manifest.version,
        variant=manifest.variant,
        target=manifest.target,
        sha256=sha256,
        precision=manifest.precision,
        execution=manifest.execution,
        routing=manifest.routing,
        backends=[name for name, lane in lanes.items() if lane.current is not None],
        offers=_offers(lanes),
        input=wire.InputSize(width=manifest.input.width, height=manifest.input.height),
        classes=list(manifest.class_names),
        defaults=wire.DefaultValues(
            conf=manifest.defaults.conf,
            iou=manifest.defaults.iou,
            max_det=manifest.defaults.max_det,
            top_k=None if top_k is None else top_k.default,
            weight_threshold=None if threshold is None else threshold.default,
        ),
        top_k=None if top_k is None else _top_k_choice(top_k),
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
        gflops={"fixed": manifest.gflops.fixed, "dense": manifest.gflops.dense},
        metrics=dict(manifest.provenance.metrics),
        data=manifest.provenance.data,
        attribution=manifest.provenance.attribution,
    )


def _described(lanes: Collection[Lane]) -> tuple[Manifest, str] | None:
    """Choose which version describes a model: the one that `auto` gets now, or else any that is known."""
    in_force = [(lane.breaker.state, lane.current) for lane in lanes if lane.current is not None]
    if in_force:
        _, offer = min(in_force, key=lambda pair: pair[0])  # the first of those that are closed
        return offer.manifest, offer.sha256
    listings = [listing for lane in lanes for listing in lane.listings]
    return (listings[-1].manifest, listings[-1].sha256) if listings else None


def _offers(lanes: Mapping[str, Lane]) -> list[wire.Offer]:
    return [
        wire.Offer(
            backend=name,
            version=listing.manifest.version,
            target=listing.manifest.target,
            precision=listing.manifest.precision,
            sha256=listing.sha256,
            state=listing.state,
            why=listing.why,
        )
        for name, lane in lanes.items()
        for listing in lane.listings
    ]


def _top_k_choice(spec: TopKSpec) -> wire.TopKChoice:
    return wire.TopKChoice(allowed=sorted(spec.allowed), default=spec.default)

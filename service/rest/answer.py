"""From what the pipeline found to what is sent."""

from service.artifact.manifest import TopKSpec
from service.artifact.repository import Artifact
from service.pipeline.models import Model, Models
from service.pipeline.options import Options
from service.pipeline.run import Detected
from service.rest import wire
from service.types import Detections, ExpertActivation, Timings

STATIC_ROUTING = (
    "Routing is static: this model sends every image to the same experts, so they say nothing about this one."
)


def to_answer(
    request_id: str, artifact: Artifact, backend: str, options: Options, found: Detected, *, moe: str
) -> wire.Answer:
    """Build the answer for one image; `moe` is summary, full or off."""
    manifest = artifact.manifest
    height, width = found.image_hw
    answer = wire.Answer(
        id=request_id,
        model=wire.ModelRef(
            name=manifest.name,
            version=manifest.version,
            sha256=artifact.sha256,
            backend=backend,
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
            top_k=options.top_k,
            gflops=wire.GflopsUse(
                used=round(found.compute.used_gflops, 6), dense=round(found.compute.dense_gflops, 6)
            ),
            degraded=False,
            routing=manifest.routing,
        )
    return answer


def to_model_list(models: Models) -> wire.ModelList:
    """Describe every served model."""
    return wire.ModelList(
        default=models.default, models=[_model_info(model) for model in models.by_name.values()]
    )


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


def _model_info(model: Model) -> wire.ModelInfo:
    manifest = model.artifact.manifest
    top_k, threshold = manifest.controls.top_k, manifest.controls.weight_threshold
    return wire.ModelInfo(
        name=manifest.name,
        version=manifest.version,
        variant=manifest.variant,
        target=manifest.target,
        sha256=model.artifact.sha256,
        precision=manifest.precision,
        execution=manifest.execution,
        routing=manifest.routing,
        backends=list(model.backends),
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


def _top_k_choice(spec: TopKSpec) -> wire.TopKChoice:
    return wire.TopKChoice(allowed=sorted(spec.allowed), default=spec.default)

"""Read the part of the service's answers that is the same for every task."""

from .facts import Facts
from .types import Common, ExpertActivation, ModelRef, PathTaken, ServiceFacts


def common(answer: Facts) -> Common:
    """Return the part of an answer that all tasks have, such as the model and the experts that ran.

    Raises:
        ValueError: a member of the answer is missing, or has another type.
    """
    model, image, moe = answer.part("model"), answer.part("image"), answer.part("moe")
    gflops = moe.part("gflops")
    return {
        "model": ModelRef(
            *(model.text(name) for name in ("name", "version", "sha256", "backend", "precision"))
        ),
        "image_hw": (image.whole("height", 1), image.whole("width", 1)),
        "experts": tuple(_activation(layer) for layer in moe.parts("layers")),
        "top_k": None if moe.is_null("top_k") else moe.whole("top_k"),
        "routing": moe.text("routing"),
        "path": _path(moe) if moe.has("path") else None,
        "service": ServiceFacts(
            id=answer.text("id"),
            backend_reason=model.text("backend_reason"),
            timing_ms=dict(answer.numbers("timing_ms")),
            warnings=tuple(answer.list_of("warnings", str, empty=True)),
            used_gflops=gflops.number("used"),
            dense_gflops=gflops.number("dense"),
            degraded=moe.flag("degraded"),
        ),
    }


def _path(moe: Facts) -> PathTaken:
    path = moe.part("path")
    return PathTaken(path.whole("index"), path.share("probability"))


def _activation(layer: Facts) -> ExpertActivation:
    return ExpertActivation(
        layer=layer.text("layer"),
        num_experts=layer.whole("experts", 1),
        active=tuple(layer.list_of("active", int, empty=True)),
        weights=tuple(map(float, layer.list_of("weights", int, float, empty=True))),
        probabilities=tuple(map(float, layer.list_of("probabilities", int, float))),
        entropy_bits=layer.number("entropy_bits"),
    )

"""Add what an answer says about an image to the image's step."""

from service.errors import ServiceError
from service.observe.protocol import Answered
from service.request import RequestContext
from service.tasks.choose import task_of
from service.timeline import Fact


class TracingObserver:
    """An observer that writes the model, the experts and the compute of an image into its step."""

    def answered(self, image: Answered) -> None:
        """Add the facts of an answered image, if it is traced."""
        if image.context.step is not None:
            image.context.step.facts |= facts_of(image)

    def refused(self, error: ServiceError, context: RequestContext) -> None:
        """Do nothing, because the step has noted the error that ended it."""


def facts_of(image: Answered) -> dict[str, Fact]:
    """Return the attributes of an image's span, by name."""
    manifest = image.version.manifest
    height, width = image.image_hw
    facts: dict[str, Fact] = {
        "sparsight.model": manifest.name,
        "sparsight.version": manifest.version,
        "sparsight.backend": image.version.backend_name,
        "sparsight.task": manifest.task,
        "sparsight.precision": manifest.precision,
        "sparsight.image.width": width,
        "sparsight.image.height": height,
        "sparsight.image.bytes": len(image.data),
        "sparsight.detections": task_of(manifest).count(image.result),
        "sparsight.degraded": image.degraded,
        "sparsight.routing": manifest.routing,
        "sparsight.gflops.used": round(image.compute.used_gflops, 6),
        "sparsight.gflops.dense": round(image.compute.dense_gflops, 6),
    }
    facts |= {f"sparsight.{name}": value for name, value in image.params.controls.items()}
    facts |= {f"sparsight.experts.{layer.layer}": ",".join(map(str, layer.active)) for layer in image.experts}
    return facts

"""What the routes of one process share."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from service.errors import NotReady
from service.metrics import Metrics
from service.pipeline.models import Models
from service.settings import Settings
from service.traffic.admission import Admission


@dataclass
class Gateway:
    """Settings, counters, the threads that images are worked on, and the models once they are loaded."""

    settings: Settings
    metrics: Metrics
    admission: Admission = field(init=False)
    pool: ThreadPoolExecutor = field(init=False)
    models: Models | None = None
    why_not_ready: str = "the models are being loaded"
    stopping: bool = False

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.max_inflight)
        self.pool = ThreadPoolExecutor(self.settings.workers, thread_name_prefix="detect")

    def ready_models(self) -> Models:
        """Return the models.

        Raises:
            NotReady: they are not loaded yet, or could not be.
        """
        if self.models is None:
            raise NotReady(self.why_not_ready)
        return self.models


def gateway_of(connection: HTTPConnection) -> Gateway:
    """Return the gateway of the app that serves this request."""
    gateway = connection.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway

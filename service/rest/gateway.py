"""What the routes of one process share."""

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from service.backends.threads import Threads
from service.errors import NotReady
from service.metrics import Metrics
from service.serving.models import Models
from service.settings import Settings
from service.traffic.admission import Admission


@dataclass
class Gateway:
    """Settings, counters, the threads that images are worked on, and the models once they are loaded."""

    settings: Settings
    metrics: Metrics
    admission: Admission = field(init=False)
    threads: Threads = field(init=False)
    models: Models = field(init=False)
    loading: str = "the models are being loaded"  # why there are no models yet; empty once there are
    stopping: bool = False

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.max_inflight)
        self.threads = Threads(self.settings.workers, "detect")
        self.models = Models(self.settings, self.metrics)

    def ready_models(self) -> Models:
        """Return the models. Some backend knew the default one at least once; it may be unwell by now.

        Raises:
            NotReady: they are not loaded yet, or could not be.
        """
        if self.loading:
            raise NotReady(self.loading)
        return self.models

    def check_ready(self) -> None:
        """Do nothing if requests are welcome.

        Raises:
            NotReady: no backend can serve the default model, or the service is stopping.
        """
        why = self.ready_models().why_not_ready()
        if why is not None:
            raise NotReady(why)
        if self.stopping:
            raise NotReady("it is stopping")


def gateway_of(connection: HTTPConnection) -> Gateway:
    """Return the gateway of the app that serves this request."""
    gateway = connection.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway

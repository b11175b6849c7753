"""Find the service object behind a request."""

from starlette.requests import HTTPConnection

from service.serving.detect import DetectService


def service_of(connection: HTTPConnection) -> DetectService:
    """Return the service of the app that received this request."""
    service = connection.app.state.service
    assert isinstance(service, DetectService)
    return service

"""Ask for detections and classifications: the service over HTTP, or an NVIDIA Triton server directly.

From a checkout this package is `clients`; installed it is `sparsight_client`.
"""

from .errors import ClientError
from .rest import AsyncRestClient, RestClient
from .tasks.classify import Classification
from .tasks.detect import Detections
from .tls import Tls
from .triton import AsyncTritonClient, TritonClient

__all__ = [
    "AsyncRestClient",
    "AsyncTritonClient",
    "Classification",
    "ClientError",
    "Detections",
    "RestClient",
    "Tls",
    "TritonClient",
]

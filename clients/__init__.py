"""Find objects and classify images through the service, or directly with an NVIDIA Triton server.

In a checkout this package is named `clients`; when installed, it is named `sparsight_client`.
"""

from .errors import ClientError
from .rest import AsyncRestClient, RestClient
from .tasks.boxes import Detections
from .tasks.classify import Classification
from .tasks.obb import OrientedDetections
from .tasks.pose import Poses
from .tasks.segment import Segments
from .tls import Tls
from .triton import AsyncTritonClient, TritonClient

__all__ = [
    "AsyncRestClient",
    "AsyncTritonClient",
    "Classification",
    "ClientError",
    "Detections",
    "OrientedDetections",
    "Poses",
    "RestClient",
    "Segments",
    "Tls",
    "TritonClient",
]

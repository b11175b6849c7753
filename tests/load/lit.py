"""The same detection as in naive.py, served by LitServe: `python -m tests.load.lit PORT`.

LitServe is not a dependency of this project. `services.py` runs this file in an environment of its own.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import File

from tests.load.naive import Detector


class DetectApi(litserve.LitAPI):
    """The steps of a request, which LitServe runs in a worker process."""

    def setup(self, device: str) -> None:
        """Load the graph."""
        self.detector = Detector(Path(os.environ["ARTIFACT"]))

    def decode_request(self, request: Annotated[bytes, File()]) -> bytes:
        """Return the bytes of the image, which is the field `request` of a form."""
        return request

    def predict(self, x: bytes) -> list[dict[str, Any]]:
        """Return the objects in an image."""
        return self.detector.detect(x)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the answer."""
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(DetectApi(api_path="/detect"), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)

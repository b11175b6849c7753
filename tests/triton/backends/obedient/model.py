"""The project's `openvino` backend for Triton, which a test can make slow or make fail.

Every request reads `behaviour.json` beside the model's configuration. {"sleep_s": 0.5} makes the request wait
before the answer, and {"fail": "why"} makes it fail with this message.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        source = Path(__file__).parents[1] / "openvino" / "model.py"
        sys.path.append(str(source.parent))  # Triton does this for the backend that a model names
        spec = importlib.util.spec_from_file_location("openvino_backend", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._model = module.TritonPythonModel()
        self._model.initialize(args)
        self._behaviour = Path(args["model_repository"]) / "behaviour.json"

    def execute(self, requests):
        behaviour = json.loads(self._behaviour.read_text()) if self._behaviour.exists() else {}
        end = time.monotonic() + behaviour.get("sleep_s", 0.0)
        while time.monotonic() < end:
            if all(request.is_cancelled() for request in requests):
                (self._behaviour.parent / "cancelled").touch()  # a test checks whether this file exists
                break
            time.sleep(0.01)
        if sentence := behaviour.get("fail"):
            error = pb_utils.TritonError(sentence)
            return [pb_utils.InferenceResponse(error=error) for _ in requests]
        return self._model.execute(requests)

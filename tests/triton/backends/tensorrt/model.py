"""Replaces Triton's `tensorrt` backend in tests, because a plan needs a GPU.

It runs the ONNX graph beside the plan on the CPU, and writes this into the server's log. Like the real
backend, it computes the requests that Triton has joined as one batch.
"""

import json
from pathlib import Path

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        plan = Path(args["model_repository"]) / args["model_version"] / config["default_model_filename"]
        twin = plan.resolve().with_suffix(".onnx")  # a model of paths has only a link to its plan
        pb_utils.Logger.log_warn(f"{args['model_name']}: no TensorRT here; running the ONNX twin {twin.name}")
        compiled = ov.Core().compile_model(twin, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        self._inputs = [port.get_any_name() for port in compiled.inputs]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests):
        rows = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        self._request.infer({name: np.concatenate([row[name] for row in rows]) for name in self._inputs})
        ends = np.cumsum([len(row[self._inputs[0]]) for row in rows])[:-1]
        outputs = {name: np.split(self._request.get_tensor(name).data, ends) for name in self._outputs}
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, outputs[name][i].copy()) for name in self._outputs]
            )
            for i in range(len(requests))
        ]

"""Replaces Triton's `onnxruntime` backend in tests: runs ONNX Runtime on the CPU, from Python."""

import json
from pathlib import Path

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = folder / (config.get("default_model_filename") or "model.onnx")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [port.name for port in self._session.get_inputs()]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        outputs = self._session.run(self._outputs, tensors)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, value) for name, value in zip(self._outputs, outputs, strict=True)]
        )

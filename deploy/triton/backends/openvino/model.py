"""Replace Triton's `openvino` backend, to run a graph in the precision that it was exported in.

On CPUs with bf16, OpenVINO uses bf16 by default, and this rounding changes the chosen experts. Triton's own
OpenVINO backend cannot request float32, so this backend uses OpenVINO's Python API. Copy this file and
service/cores.py to <backends>/openvino/; it then serves every model whose configuration says
`backend: "openvino"`.
"""

import json
from pathlib import Path

import openvino as ov
import triton_python_backend_utils as pb_utils
from cores import allowed_cores, usable_cores

# An int8 graph contains its own quantisation nodes; its other nodes run in float32.
PRECISION = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "f32"}


class TritonPythonModel:
    """One model instance with a compiled graph; it runs one request at a time."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        graph = folder / (config.get("default_model_filename") or "model.xml")
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        device = parameters.get("TARGET_DEVICE", "CPU")
        instances = sum(group.get("count", 1) for group in config.get("instance_group", [])) or 1
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": False})  # a change of the file must not change or end the model
        compiled = core.compile_model(graph, device, engine_config(folder, parameters, device, instances))
        self._request = compiled.create_infer_request()
        self._inputs = [port.get_any_name() for port in compiled.inputs]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        if request.is_cancelled():
            return failure("the caller cancelled the request", pb_utils.TritonError.CANCELLED)
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        try:
            self._request.infer(tensors, share_inputs=True)
        except RuntimeError as error:
            return failure(f"OpenVINO refused the input: {error}", pb_utils.TritonError.INVALID_ARG)
        # Copied, because the next request overwrites the engine's memory.
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, self._request.get_tensor(name).data.copy()) for name in self._outputs]
        )


def engine_config(folder, parameters, device, instances):
    """Return OpenVINO's settings, from the manifest and the model configuration's parameters.

    The parameters have the same names as OpenVINO's settings. Triton's own OpenVINO backend uses these names
    too, apart from INFERENCE_PRECISION_HINT. The models of paths have this parameter, but no manifest.
    """
    config = {}
    if device == "CPU":
        config["INFERENCE_PRECISION_HINT"] = parameters.get("INFERENCE_PRECISION_HINT") or stated_in(folder)
        # Each instance is a process. In every process, pinned threads would take the same first cores.
        config["ENABLE_CPU_PINNING"] = "NO"
        # OpenVINO ignores the CPU quota of a container, which all instances together must not exceed.
        if (cores := usable_cores()) < allowed_cores():
            config["INFERENCE_NUM_THREADS"] = str(max(1, cores // instances))
    for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT", "ENABLE_CPU_PINNING"):
        if name in parameters:
            config[name] = parameters[name]
    return config


def stated_in(folder):
    """Return OpenVINO's name of the precision in a manifest."""
    precision = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["precision"]
    return PRECISION[precision]


def failure(sentence, code):
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(sentence, code))

"""Run a graph in OpenVINO on the CPU."""

from collections.abc import Collection, Mapping
from pathlib import Path

import openvino as ov

from training.errors import ExportError
from training.export.contract.precision import Precision
from training.export.contract.tensors import Arrays
from training.signal_stack import own_signal_stack

# The parts of an 8-bit graph that stay float are float32. An f16 graph states the type of each tensor itself.
HINTS: Mapping[Precision, str] = {"f32": "f32", "bf16": "bf16", "f16": "f32", "int8": "f32"}


def save_openvino(onnx_path: Path, xml_path: Path) -> None:
    """Convert an ONNX file to OpenVINO's format.

    The weights stay float32, because float16 weights would change the outputs.
    """
    ov.save_model(ov.Core().read_model(onnx_path), xml_path, compress_to_fp16=False)


def open_cpu() -> ov.Core:
    """Return an OpenVINO core for the CPU, made so that Ctrl-C works even after it is freed."""
    with own_signal_stack():
        core = ov.Core()
        core.get_property("CPU", "FULL_DEVICE_NAME")  # makes the plugin
    return core


def cpu_name() -> str:
    """Return the name of this machine's CPU."""
    return str(open_cpu().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def cpu_capabilities() -> Collection[str]:
    """Return the number formats in which this CPU computes, by OpenVINO's names: FP32, INT8, BF16, …"""
    return tuple(open_cpu().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def check_precision(precision: Precision, capabilities: Collection[str]) -> None:
    """Check that a CPU with these capabilities can compute in `precision`.

    Raises:
        ExportError: the CPU cannot, so the graph cannot be compared with its checkpoint on this machine.
    """
    if precision == "bf16" and "BF16" not in capabilities:
        raise ExportError(
            "precision bf16: this CPU does not compute in bf16, so the graph cannot be proved here. "
            "Export on a CPU with AVX-512 BF16 or AMX, or with --precision f32."
        )


class OpenVinoEngine:
    """Runs a graph in OpenVINO, in the precision that the artifact states.

    Args:
        graph_path: the .xml or .onnx file.
        precision: of the artifact.
        weights: the file with the weights of an .xml; None: the .bin of the same name.
    """

    def __init__(self, graph_path: Path, precision: Precision = "f32", weights: Path | None = None) -> None:
        core = open_cpu()
        # By default, OpenVINO computes in bf16 on CPUs that have it, and bf16 changes the chosen experts.
        settings = {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        compiled = core.compile_model(core.read_model(graph_path, weights), "CPU", settings)
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self.machine = f"{core.get_property('CPU', 'FULL_DEVICE_NAME').strip()}, {threads} threads"
        self._request = compiled.create_infer_request()

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once and return the outputs; inputs and outputs are by name."""
        self._request.infer(dict(inputs))
        return {
            port.get_any_name(): tensor.data.copy()
            for port, tensor in zip(self._request.model_outputs, self._request.output_tensors, strict=True)
        }

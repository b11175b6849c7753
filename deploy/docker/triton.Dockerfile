# Triton with one backend of ours: its native OpenVINO backend cannot pin float32, and OpenVINO takes bf16 by itself
# on CPUs that have it, which moves experts. Ours runs every graph at the precision of its manifest.

FROM nvcr.io/nvidia/tritonserver:25.10-py3
USER 0
# In a folder of its own, so that nothing of the image's Python is replaced. numpy stays 1.x: with numpy 2 the tensors
# that Triton hands to a Python model were silently wrong (seen with Triton 2.51).
RUN python3 -m pip install --no-cache-dir --no-deps --target /opt/sparsight/python \
        numpy==1.26.4 openvino==2026.4.1 openvino-telemetry==2025.2.0 \
    && rm -rf /opt/tritonserver/backends/openvino
ENV HOME=/tmp \
    PYTHONPATH=/opt/sparsight/python \
    PYTHONDONTWRITEBYTECODE=1
COPY deploy/triton/backends/openvino/ service/cores.py /opt/tritonserver/backends/openvino/
# triton-server, the user that the image brings along.
USER 1000:1000
EXPOSE 8000 8001 8002
CMD ["tritonserver", "--model-repository=/models"]

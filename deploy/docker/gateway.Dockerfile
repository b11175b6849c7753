# The gateway: image bytes in, detections and expert activations out. No torch, no compiler, no pip.

FROM python:3.13.9-slim-bookworm AS builder
WORKDIR /build
# The client is what the project installs; the service runs from the folder below.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY clients/ clients/
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --constraint constraints.txt ".[serve,tracing]"

FROM python:3.13.9-slim-bookworm
# A user without a name has no home either, and OpenVINO looks for one when it is imported.
ENV HOME=/tmp \
    PATH="/venv/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    SPARSIGHT_REPOSITORY=/models
WORKDIR /app
COPY --from=builder /venv /venv
COPY LICENSE NOTICE ./
COPY service/ service/
# A number, so that Kubernetes can see that it is not root. Writes nothing but /tmp.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "service"]

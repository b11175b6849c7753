# Training and export. Not part of the running stack: a job that writes into model_repository and ends.
#
#   docker build -f deploy/docker/training.Dockerfile -t sparsight-training:0.1.0 .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/app/runs" \
#       -v "$PWD/model_repository:/app/model_repository" -v /path/to/images:/data:ro \
#       sparsight-training:0.1.0 train-export --name mine --recipe small-data --data /data

FROM python:3.13.9-slim-bookworm
# Empty: the torch of the default package index, which brings CUDA. For a smaller image without CUDA give the index
# of CPU builds that PyTorch's installation page names.
ARG TORCH_INDEX_URL=""
WORKDIR /app
# The client is what the project installs; training runs from the folder below.
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY clients/ clients/
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
        python -m pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX_URL" torch; \
    fi \
    && python -m pip install --no-cache-dir --constraint constraints.txt ".[train]"
COPY training/ training/
COPY model_repository/manifest.schema.json model_repository/manifest.1.schema.json model_repository/
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

# The console, the supervisor and the scorer in one container; the store is its volume.
#   docker build -t lodestar .
#   docker run -d --stop-timeout 30 -p 127.0.0.1:8501:8501 -v lodestar:/store lodestar
# With a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple, and --gpus all.
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# tini is process 1: it hands SIGTERM on to the launcher and reaps what a killed supervisor leaves.
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home lodestar \
    && install -d -o lodestar -g lodestar /store /cache

WORKDIR /opt/lodestar
COPY constraints.txt ./
RUN pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY data data
COPY core core
COPY dashboard dashboard
RUN pip install --constraint constraints.txt '.[postgresql]'

# The container's own network is no one else's: the console may listen on all of it, and -p decides who reaches it.
ENV LODESTAR_HOME=/store LODESTAR_CACHE=/cache LODESTAR_ADDRESS=0.0.0.0
USER lodestar
WORKDIR /store
VOLUME ["/store", "/cache"]
EXPOSE 8501
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "lodestar"]
CMD ["app"]

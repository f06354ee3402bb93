# photoscene in a container, without root: docs/cluster.md says how to use it.
#
#   docker build --target cpu --tag photoscene:cpu .     profile lite, 2 GB
#   docker build --target cuda --tag photoscene:cuda .   profile full, for NVIDIA's GPUs; weights stay outside
FROM debian:bookworm-slim AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
  && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/photoscene \
  && useradd --create-home --uid 1000 photoscene \
  && install --directory --owner=photoscene /models /store /scenes
ENV PATH=/opt/photoscene/bin:$PATH PHOTOSCENE_MODELS=/models PHOTOSCENE_STORE=/store
WORKDIR /opt/source
COPY . .

FROM base AS cuda
RUN pip install --no-cache-dir --constraint constraints.txt '.[full,export,cluster]' \
  && pip install --no-cache-dir --no-deps --requirement moge-requirements.txt
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /scenes
VOLUME ["/models", "/store", "/scenes"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=1m CMD ["photoscene", "doctor"]
CMD ["photoscene", "--help"]

FROM base AS cpu
RUN pip install --no-cache-dir --constraint constraints.txt '.[export,cluster]'
USER 1000
WORKDIR /scenes
VOLUME ["/models", "/store", "/scenes"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=1m CMD ["photoscene", "doctor"]
CMD ["photoscene", "--help"]

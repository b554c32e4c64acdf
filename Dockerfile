# cliffvid with its open models; nothing is fetched when it runs.
#
#   docker build --tag cliffvid .
#   docker build --tag cliffvid:cuda --build-arg EXTRAS=gpu,overlay .   # CUDA 13 and cuDNN 9 from wheels; run with --gpus all
#   docker run --rm --volume "$PWD:/data" --user "$(id -u)" cliffvid process video.mp4
#
# EXTRAS: cpu or gpu, not both; and overlay, openvino, heic, ray as needed.
FROM python:3.13-slim-bookworm AS build
COPY . /source
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.13-slim-bookworm
ARG EXTRAS=cpu,overlay
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1 libgl1-mesa-dri \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[$EXTRAS]" \
    && rm -r /wheels \
    && useradd --uid 1000 --create-home cliffvid
# Compute, and the decoder of a GPU.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,video,graphics HOME=/tmp
USER 1000
WORKDIR /data
ENTRYPOINT ["cliffvid"]
CMD ["--help"]

# syntax=docker/dockerfile:1
# Triton for production: NVIDIA's server with our model repository inside, so that an image is one model version.
#   docker build --file docker/triton.Dockerfile --tag reviewlens/triton .
#
# docs/security.md says which release is the lowest to use, and why.
# Give the digest as well, tag@sha256:..., so that a rebuild gets the same bytes.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.11-py3

# The repository that comes with the project runs on the CPU. For another one, as `python -m export --target gpu`
# writes it, build with --build-context models=FOLDER: that takes the place of this stage.
FROM scratch AS models
COPY model_repository /

FROM ${TRITON_IMAGE} AS triton
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="reviewlens-triton" \
      org.opencontainers.image.description="NVIDIA Triton with the models of ReviewLens" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Owned by root and not writable: the server cannot change its own models.
COPY --chmod=0555 docker/triton/start.sh /usr/local/bin/start-triton
COPY --from=models / /models

# The root filesystem is read-only: caches go where a tmpfs is mounted.
ENV HOME=/tmp \
    CUDA_CACHE_PATH=/tmp/cuda \
    PYTHONUNBUFFERED=1

# The image's own user is triton-server, 1000; the number lets Kubernetes check that it is not root.
USER 1000:1000
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# The image has no gRPC client. Triton opens its ports only once every model is loaded, so metrics tell.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8002/metrics', timeout=3)"]
# NVIDIA's entrypoint stays: it checks the driver. What runs is the command.
CMD ["start-triton"]

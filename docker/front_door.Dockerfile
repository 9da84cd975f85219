# syntax=docker/dockerfile:1
# The gRPC front door, in two images:
#   docker build --file docker/front_door.Dockerfile --tag reviewlens/front-door .
#   docker build --file docker/front_door.Dockerfile --target cpu --tag reviewlens/front-door-cpu .
# The first talks to a Triton elsewhere and has no torch, no onnxruntime and no Triton. The second has the embedded
# Triton in it, for one machine without a GPU.
#
# Give the digest as well, tag@sha256:..., so that a rebuild gets the same bytes.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# Another model repository: build with --build-context models=FOLDER, the one that Triton serves. That takes the place
# of this stage.
FROM scratch AS models
COPY model_repository /

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY LICENSE README.md pyproject.toml ./
COPY client client
COPY export export
COPY proto proto
COPY server server
COPY training training
COPY docker/constraints.txt /constraints.txt
# The wheel is named by its file: an index must not get to serve another package of the name.
RUN python -m pip wheel --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/reviewlens \
    && python -m pip --python /opt/reviewlens/bin/python install \
    --only-binary=:all: --constraint /constraints.txt "$(echo /wheels/*.whl)[server]"

FROM build AS build-cpu
RUN python -m pip --python /opt/reviewlens/bin/python install \
    --only-binary=:all: --constraint /constraints.txt "$(echo /wheels/*.whl)[server,embedded]"

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="reviewlens-front-door" \
      org.opencontainers.image.description="gRPC front door of ReviewLens: review text in, keywords and sentiments out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# MALLOC_*: glibc's allocator keeps what large messages took; so it gives it back.
ENV PATH=/opt/reviewlens/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=131072
# For rollout.report_file: a named volume that is mounted here gets this owner.
RUN install --directory --owner=10001 --group=10001 /reports
WORKDIR /tmp
EXPOSE 8500 9500
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "server.front_door.healthcheck", "--config", "/etc/reviewlens/reviewlens.toml"]
# Reachable from outside the container, and therefore only with TLS: set REVIEWLENS_TLS__CERTIFICATE_FILE and
# REVIEWLENS_TLS__KEY_FILE, or REVIEWLENS_TLS__ALLOW_PLAINTEXT=true behind a service mesh.
ENTRYPOINT ["reviewlens-server", "--config", "/etc/reviewlens/reviewlens.toml"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/reviewlens /opt/reviewlens
COPY --from=models / /models
COPY --chmod=0444 docker/front_door/reviewlens-cpu.toml /etc/reviewlens/reviewlens.toml
USER 10001:10001

FROM runtime AS front-door
COPY --from=build /opt/reviewlens /opt/reviewlens
# Tokenizer and label set are all that it needs of the models; the weights are Triton's.
COPY --from=models /review_analysis /models/review_analysis
COPY --chmod=0444 docker/front_door/reviewlens.toml /etc/reviewlens/reviewlens.toml
USER 10001:10001

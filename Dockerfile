# Imagemill with its locked packages, as a user without privileges. CPU unless `--target gpu` is given.
#
#   docker build -t imagemill .                      (podman and buildah take the same file)
#   docker build -t imagemill:gpu --target gpu .
#   docker run --rm -v "$PWD:/data" -w /data imagemill run config.yaml --data photos --workdir work
#
# Debian 12's own Python is 3.11. Pin the base by digest with --build-arg BASE=debian@sha256:...
ARG BASE=debian:bookworm-slim

# --- the locked packages; changes seldom, takes most of the time, and is one layer of the image
FROM ${BASE} AS lock
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/imagemill
COPY requirements.txt /build/
RUN /opt/imagemill/bin/pip install --no-cache-dir --no-deps --require-hashes -r /build/requirements.txt

# --- Imagemill itself
FROM lock AS wheel
WORKDIR /build
COPY setup.py pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY components components
COPY modules modules
COPY serving serving
RUN /opt/imagemill/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

# --- CUDA beside the same TensorFlow
FROM lock AS lock-gpu
COPY requirements-gpu.txt /build/
RUN /opt/imagemill/bin/pip install --no-cache-dir --no-deps --require-hashes -r /build/requirements-gpu.txt

# --- what both images are made of: no compiler, a fixed user that owns nothing
FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Imagemill" \
      org.opencontainers.image.description="From a folder of images to a served classifier" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin imagemill
ENV PATH=/opt/imagemill/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /home/imagemill
ENTRYPOINT ["imagemill"]
CMD ["--help"]

FROM runtime AS gpu
COPY --from=lock-gpu /opt/imagemill /opt/imagemill
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir --no-deps --no-index /wheel/*.whl && rm -r /wheel
USER 10001:10001

FROM runtime AS cpu
COPY --from=lock /opt/imagemill /opt/imagemill
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir --no-deps --no-index /wheel/*.whl && rm -r /wheel
USER 10001:10001

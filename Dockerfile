# Imagemill with its locked packages, on CPU, as a user without privileges.
#
#   docker build -t imagemill .          (podman and buildah take the same file)
#   docker run --rm -v "$PWD:/data" -w /data imagemill run config.yaml --data photos --workdir work
#
# Debian 12's own Python is 3.11. Pin the base by digest with --build-arg BASE=debian@sha256:...
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/imagemill
WORKDIR /build
# The lock first: it changes less often than the code, and takes most of the time.
COPY requirements.txt ./
RUN /opt/imagemill/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY setup.py pyproject.toml README.md ./
COPY pipeline pipeline
COPY components components
COPY modules modules
COPY serving serving
RUN /opt/imagemill/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
LABEL org.opencontainers.image.title="Imagemill" \
      org.opencontainers.image.description="From a folder of images to a served classifier" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin imagemill
COPY --from=build /opt/imagemill /opt/imagemill
ENV PATH=/opt/imagemill/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
ENTRYPOINT ["imagemill"]
CMD ["--help"]

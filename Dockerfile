# syntax=docker/dockerfile:1
# The connector as an image: `docker build -t osipi-connector .`
# Another base, for example from a registry of your own: --build-arg PYTHON=registry.example/python:3.12-slim-bookworm
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock pyproject.toml README.md LICENSE osipi_connector.py osipi_start.py ./
COPY config config
COPY engine engine
COPY writers writers
RUN python -m venv /opt/osipi \
    && /opt/osipi/bin/pip install --constraint requirements.lock ".[ntlm]"

FROM ${PYTHON}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin osipi \
    && install --directory --owner osipi --group osipi /data /etc/osipi
COPY --from=build /opt/osipi /opt/osipi
ENV PATH=/opt/osipi/bin:$PATH PYTHONUNBUFFERED=1 OSIPI_CONFIG=/etc/osipi/plant.yaml OSIPI_MAX_AGE=1h
USER 10001:10001
WORKDIR /data
VOLUME /data
# For a container that follows. `status` reads the tables alone, and asks nothing of PI.
HEALTHCHECK --interval=5m --timeout=60s --start-period=30m --retries=2 \
    CMD ["/bin/sh", "-c", "exec osipi-connector status -c \"$OSIPI_CONFIG\" --max-age \"$OSIPI_MAX_AGE\""]
# A run takes SIGTERM to commit what is complete, and ends; tini passes it on.
ENTRYPOINT ["/usr/bin/tini", "--", "osipi-connector"]
CMD ["run", "-c", "/etc/osipi/plant.yaml", "--follow"]

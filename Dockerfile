# The bot alone: no homeserver, no demo. Runs as nobody in particular, on a read-only root file system.
ARG BASE=docker.io/library/python:3.11.15-slim-bookworm
FROM ${BASE} AS build
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/botschaft \
 && /opt/botschaft/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r constraints.txt
COPY bot bot
COPY config config
COPY migrations migrations
COPY deploy deploy
# What only the demo and the tests need leaves again; the rest is exactly what was tested.
RUN /opt/botschaft/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/botschaft/bin/python deploy/needed.py botschaft > unneeded.txt \
 && /opt/botschaft/bin/pip uninstall --yes --quiet -r unneeded.txt \
 && /opt/botschaft/bin/pip check

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home botschaft \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data /config
COPY --from=build /opt/botschaft /opt/botschaft
ENV PATH=/opt/botschaft/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BOTSCHAFT_CONFIG=/config/botschaft.toml \
    BOTSCHAFT_STORAGE__FOLDER=/data
USER 10001
VOLUME ["/data", "/config"]
HEALTHCHECK --interval=60s --timeout=10s --start-period=120s CMD ["botschaft", "health"]
ENTRYPOINT ["botschaft"]
CMD ["run"]

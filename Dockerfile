# digitsweep itself, on a CPU: make image, then docker compose run --rm sweep sweep smoke
# With EXTRA=ray also the image of a Ray cluster's nodes: make cluster-image.
FROM python:3.11.15-slim-bookworm AS build
COPY requirements.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        --require-hashes --requirement requirements.txt
ARG EXTRA
COPY deploy/ray/requirements.txt requirements-ray.txt
RUN test -z "$EXTRA" || /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        --require-hashes --requirement "requirements-$EXTRA.txt"
COPY src /opt/digitsweep/src
RUN /opt/venv/bin/python -m compileall -q /opt/digitsweep/src

FROM python:3.11.15-slim-bookworm
RUN groupadd --gid 10001 digitsweep \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp digitsweep \
    && install --directory --owner=digitsweep --group=digitsweep /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/digitsweep /opt/digitsweep
COPY experiments /opt/digitsweep/experiments
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/digitsweep/src \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DIGITSWEEP_CACHE=/data
ARG DIGITSWEEP_COMMIT
ENV DIGITSWEEP_COMMIT=$DIGITSWEEP_COMMIT
USER 10001:10001
WORKDIR /opt/digitsweep
ENTRYPOINT ["python", "-m", "digitsweep"]
CMD ["--help"]

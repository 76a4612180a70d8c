# The Prefect server and the MLflow server, both on PostgreSQL. Neither needs PyTorch or the project's code.
#   docker build --file docker/servers.Dockerfile .

FROM python:3.11-slim-bookworm

# Passed to pip, for example another index.
ARG PIP_ARGUMENTS=""

# Named volumes take their owner from this folder.
RUN useradd --uid 10001 --user-group --create-home optishear \
    && install --directory --owner=optishear --group=optishear /var/lib/mlflow

# Their dependencies have the versions of constraints.txt.
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    pip install ${PIP_ARGUMENTS} -c /tmp/constraints.txt prefect mlflow "psycopg[binary]"

ENV PYTHONUNBUFFERED=1

WORKDIR /var/lib/mlflow

USER 10001

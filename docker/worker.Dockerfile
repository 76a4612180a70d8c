# The two workers, with the flows and the library installed as outside a container.
#   docker build --file docker/worker.Dockerfile --target cpu-worker .
#   docker build --file docker/worker.Dockerfile --target gpu-worker .

FROM python:3.11-slim-bookworm AS cpu-worker

# Passed to pip, for example another index. By default pip installs PyTorch with CUDA.
ARG PIP_ARGUMENTS=""

WORKDIR /opt/optishear

# A fixed user id, so that both workers own the shared files; volumes take their owner from these folders. The output
# folders of the configurations are in the volume of the home folder, so that checkpoints are linked and not copied.
RUN useradd --uid 10001 --user-group --create-home optishear \
    && install --directory --owner=optishear --group=optishear /var/lib/huggingface /var/lib/optishear \
        /var/lib/optishear/home /var/lib/optishear/optishear-output /var/lib/optishear/nightly \
    && ln --symbolic /var/lib/optishear/optishear-output /var/lib/optishear/nightly .

# Dependencies in a separate layer: a change of the code does not install PyTorch again.
COPY LICENSE README.md constraints.txt pyproject.toml ./
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${PIP_ARGUMENTS} -c constraints.txt ".[pipeline]"

COPY prefect.yaml ./
COPY configurations configurations
COPY optishear optishear
COPY tasks tasks
COPY flows flows
# hadolint ignore=SC2086
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${PIP_ARGUMENTS} --no-deps -e .

ENV OPTISHEAR_HOME=/var/lib/optishear/home \
    HF_HOME=/var/lib/huggingface \
    PYTHONUNBUFFERED=1

USER 10001

FROM cpu-worker AS gpu-worker

# PyTorch brings the CUDA libraries; only the driver is the host's.
RUN python -c "import sys, torch; sys.exit(None if torch.version.cuda else 'This PyTorch was built without CUDA; give other PIP_ARGUMENTS')"

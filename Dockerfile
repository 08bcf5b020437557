# hrmd on paper or live, as a user of its own; `docker compose up` (compose.yaml) runs it on a simulated tape.
# The builder compiles nothing: wheels come from the index, torch in its CPU build. The native kernel is compiled at the
# first start and kept in the cache volume, so g++ is in the image.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/hrmd/.venv
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY config config
COPY daemon daemon
COPY models models
COPY strategies strategies
# The CPU build is a fifth of torch's default one; its version has a local part (+cpu), so pip takes it before the other.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/hrmd/.venv/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt '.[alerts,fyers]' \
    && /opt/hrmd/.venv/bin/pip install --no-cache-dir -c constraints.txt --no-deps fyers-apiv3

FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/hrmd --shell /usr/sbin/nologin hrmd \
    && install -d -o hrmd -g hrmd -m 0700 /var/lib/hrmd /var/cache/hrmd
COPY --from=build /opt/hrmd/.venv /opt/hrmd/.venv
# One heap for all threads, given back as it empties, as in systemd/hrmd.service.
ENV PATH=/opt/hrmd/.venv/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 \
    XDG_CACHE_HOME=/var/cache XDG_STATE_HOME=/var/lib
USER hrmd
WORKDIR /var/lib/hrmd
VOLUME ["/var/lib/hrmd", "/var/cache/hrmd"]
STOPSIGNAL SIGTERM
# 200 where it is healthy or degraded, and no token; the first start compiles and measures.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8642/healthz', timeout=4)"]
ENTRYPOINT ["hrmd"]
CMD ["run", "-c", "/etc/hrmd/settings.yaml", "--set", "log.format=json"]

# The CPU image by default; with --build-arg EXTRA=cuda12 (or cuda13) with CuPy and the CUDA libraries, with EXTRA=base without
# tables and ONNX.
FROM python:3.13-slim-bookworm AS build
ARG EXTRA=all
WORKDIR /build
RUN python -m venv /nabla
COPY requirements/ requirements/
RUN /nabla/bin/pip install --no-cache-dir --require-hashes -r requirements/${EXTRA}.txt
RUN python -m venv /packaging \
 && /packaging/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml hatch_build.py mkdocs.yml README.md CHANGELOG.md LICENSE ./
COPY scripts/mkdocs_hooks.py scripts/mkdocs_hooks.py
COPY docs/ docs/
COPY nabla/ nabla/
COPY app/ app/
COPY engine/ engine/
RUN /packaging/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
 && /nabla/bin/pip install --no-cache-dir --no-deps wheels/*.whl \
 && /nabla/bin/pip uninstall --yes pip
# With -P, Python imports the installed package, not /build's.
ENV NUMBA_CACHE_DIR=/compiled
RUN /nabla/bin/python -P -m nabla.engine.training.precompile --all-levels

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin nabla \
 && mkdir /data \
 && chown nabla:nabla /data \
 && pip uninstall --yes pip
COPY --from=build /nabla /nabla
COPY --from=build --chown=nabla:nabla /compiled /compiled
USER 10001
ENV NUMBA_CACHE_DIR=/compiled NABLA_HOST=0.0.0.0 NABLA_PORT=8000 NABLA_DATA_DIR=/data PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["/nabla/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["/nabla/bin/nabla", "serve"]

# geosearch itself: the wheel, with the versions of constraints.txt, run by an ordinary user.
FROM node:22-slim AS page

WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY web ./
RUN npm run build


FROM python:3.12-slim AS build

WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt build hatchling hatch-fancy-pypi-readme
COPY pyproject.toml README.md LICENSE ./
COPY alembic alembic
COPY sql sql
COPY geosearch geosearch
COPY --from=page /src/geosearch/web/page geosearch/web/page
RUN python -m build --wheel --no-isolation --outdir /dist


FROM python:3.12-slim

ARG EXTRAS=torch,pictures,fast,heic,gis,s3,web
# What a hint at a missing extra adds to.
ENV GEOSEARCH_IMAGE_EXTRAS=$EXTRAS
# A further package index, e.g. one of PyTorch builds for the processor only, which are smaller.
ARG PIP_EXTRA_INDEX_URL

COPY constraints.txt /tmp/constraints.txt
COPY --from=build /dist /tmp/dist
RUN wheel=$(echo /tmp/dist/*.whl) \
    && pip install --no-cache-dir -c /tmp/constraints.txt "$wheel[$EXTRAS]" \
    && rm -r /tmp/dist /tmp/constraints.txt \
    && useradd --create-home --uid 1000 geosearch \
    && install --directory --owner geosearch --group geosearch /srv/geosearch /srv/geosearch/demo

WORKDIR /srv/geosearch
COPY scripts/demo scripts/demo
COPY scripts/make-page-data scripts/make-page-data
RUN python scripts/make-page-data \
    "$(python -c 'from geosearch.web.page_files import FOLDER; print(FOLDER / "data")')"
# Machine code for the search for modes is kept in the cache of who compiles it: now, and not anew in
# every container.
RUN su geosearch -c 'python -c "from geosearch.density.modes import machine_code; machine_code()"'
USER geosearch

# Healthy: the selected database is reached and carries the schema of this version.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s \
    CMD ["python", "-c", "import geosearch; geosearch.connect().close()"]

CMD ["geosearch", "--help"]

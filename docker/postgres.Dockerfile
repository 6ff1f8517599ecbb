# PostgreSQL 17 with PostGIS and pgvector, from the PGDG repository that the base image has set up.
# The official image rather than postgis/postgis: both extensions come from one repository.
FROM postgres:17-bookworm

# The build fails where the repository has only an older one.
ARG MINIMUM_PGVECTOR=0.8.2

RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        postgresql-17-postgis-3 postgresql-17-pgvector \
    && installed=$(dpkg-query --show --showformat '${Version}' postgresql-17-pgvector) \
    && dpkg --compare-versions "$installed" ge "$MINIMUM_PGVECTOR" \
    && rm -rf /var/lib/apt/lists/*

# tipg: OGC API Features and Tiles from the views of geosearch.
FROM python:3.12-slim

RUN pip install --no-cache-dir tipg==1.6.1 uvicorn==0.54.0 \
    && useradd --create-home --uid 1000 tipg

USER tipg

CMD ["uvicorn", "tipg.main:app", "--host", "0.0.0.0", "--port", "8080"]

-- Work that only one process does at a time. A lease needs no connection of its own, as the lock of a
-- session would, and so holds behind a pooler too; that of a killed process runs out.
CREATE TABLE geosearch.leases (
    work text PRIMARY KEY,
    holder uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

CALL pg_temp.describe('geosearch.leases',
    'Work that is being done by one process, which renews its row.', $$
    work: What is being done.
    holder: By whom.
    expires_at: Until then nobody else does it.
$$);

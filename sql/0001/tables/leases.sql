-- Work that only one process does at a time, or several that share it. A lease needs no connection of
-- its own, as the lock of a session would, and so holds behind a pooler too; that of a killed process
-- runs out.
CREATE TABLE geosearch.leases (
    work text NOT NULL,
    holder uuid NOT NULL,
    shared boolean NOT NULL DEFAULT false,
    taken_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (holder, work)
);

CALL pg_temp.describe('geosearch.leases',
    'Work that is being done by a process, which renews its row.', $$
    work: What is being done.
    holder: By whom.
    shared: True if others may do it too, who say the same; what each does is in all_claims.
    taken_at: Since when.
    expires_at: Until then nobody else does it, or takes over what is claimed.
$$);

-- Whose session at the broker is read, and by whom: `holder` is one run of a process.
CREATE TABLE ingesters (
    client_id    text PRIMARY KEY,
    ingest_group text,
    holder       uuid NOT NULL,
    seen_at      timestamptz NOT NULL DEFAULT now()
);

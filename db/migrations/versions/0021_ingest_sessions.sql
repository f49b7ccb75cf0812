-- The persistent sessions of a group. Each receives the whole stream and stores the devices of its
-- share: `share` of `shares`, from 0. Of a former one (`is_former`) what is left is stored, and then
-- it is forgotten; its share is 0 of 1 where it received no more than it is to store.
-- `holder` is the run of a process that reads it, `member` the name of that ingester.
CREATE TABLE ingest_sessions (
    client_id     text PRIMARY KEY,
    ingest_group  text NOT NULL,
    share         smallint NOT NULL,
    shares        smallint NOT NULL,
    is_former     boolean NOT NULL DEFAULT false,
    subscribed_at timestamptz,
    member        text,
    holder        uuid,
    held_since    timestamptz,
    seen_at       timestamptz,
    CHECK (share >= 0 AND share < shares)
);
CREATE INDEX ingest_sessions_group ON ingest_sessions (ingest_group);

-- `keeps_session`: the broker keeps a session of its own for that client id.
-- `sessions`: how many the group is to have, as far as that ingester is concerned.
ALTER TABLE ingesters
    ADD COLUMN keeps_session boolean NOT NULL DEFAULT true,
    ADD COLUMN sessions smallint;

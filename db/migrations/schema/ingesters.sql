-- Ingesters and their sessions at the broker.

-- holder: one run of a process. keeps_session: the broker keeps a persistent session for this client id.
-- sessions: number of sessions that this ingester wants its group to have.
CREATE TABLE ingesters (
    client_id     text PRIMARY KEY,
    ingest_group  text,
    holder        uuid NOT NULL,
    keeps_session boolean NOT NULL DEFAULT true,
    sessions      smallint,
    seen_at       timestamptz NOT NULL DEFAULT now()
);

-- Persistent sessions of a group. Each receives the whole stream and stores the devices of its share:
-- number `share` of `shares`, from 0.
-- is_former: the session belongs to an earlier division. It is read until it is empty, then deleted. Its share
-- is 0 of 1 if it received only the devices that it stores.
-- holder: the run of a process that reads the session. member: the name of that ingester.
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

-- Queues: events that wait for the relay, and items that failed.

-- Events are written in the transaction of their change. The relay publishes and deletes them.
CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type       text NOT NULL,
    channels   text[] NOT NULL CONSTRAINT outbox_channels CHECK (cardinality(channels) BETWEEN 1 AND 8),
    data       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Items that failed, by queue and by id in that queue. An item is retried at retry_at. After too many tries
-- it is set aside for administrators. data: content of an item that is stored nowhere else any more.
CREATE TABLE failed_items (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    queue        text NOT NULL,
    item         text NOT NULL,
    error        text NOT NULL,
    tries        integer NOT NULL DEFAULT 1,
    data         jsonb,
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at     timestamptz,
    set_aside_at timestamptz,
    CONSTRAINT failed_items_once UNIQUE (queue, item),
    CONSTRAINT failed_items_next CHECK ((retry_at IS NULL) = (set_aside_at IS NOT NULL))
);
CREATE INDEX failed_items_set_aside ON failed_items (set_aside_at DESC, id DESC) WHERE set_aside_at IS NOT NULL;

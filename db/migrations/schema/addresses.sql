-- Addresses of users. At most one of a user's addresses is the default.

CREATE TABLE user_addresses (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    label      text NOT NULL DEFAULT 'home',
    latitude   double precision NOT NULL CONSTRAINT user_addresses_latitude CHECK (latitude BETWEEN -90 AND 90),
    longitude  double precision NOT NULL CONSTRAINT user_addresses_longitude CHECK (longitude BETWEEN -180 AND 180),
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX user_addresses_one_default ON user_addresses (user_id) WHERE is_default;
CREATE INDEX user_addresses_user ON user_addresses (user_id, created_at DESC);
-- Finds neighbours by their public place (`public_degrees`).
CREATE INDEX user_addresses_public_place ON user_addresses
    USING gist (point(public_degrees(longitude), public_degrees(latitude))) WHERE is_default;

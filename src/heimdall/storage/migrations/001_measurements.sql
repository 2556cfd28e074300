-- Receivers, known transmitters, measurements. A table that is already there is left as it is.
--
-- measurements fits TimescaleDB: its key includes the time column, and no foreign key leads to or from it.
-- So a measurement of an unknown receiver can be stored; the snapshot sends it to quarantine. Latitude and
-- longitude are those of the transmitter.

CREATE TABLE IF NOT EXISTS websdrs (
    id integer PRIMARY KEY,
    name text NOT NULL,
    latitude double precision NOT NULL,   -- degrees
    longitude double precision NOT NULL,  -- degrees
    altitude_m double precision NOT NULL
);

CREATE TABLE IF NOT EXISTS sources (
    id text PRIMARY KEY,
    name text NOT NULL,
    modulation text
);

CREATE TABLE IF NOT EXISTS measurements (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    session_id uuid NOT NULL,
    websdr_id integer NOT NULL,
    latitude double precision NOT NULL,   -- degrees
    longitude double precision NOT NULL,  -- degrees
    frequency_mhz double precision NOT NULL,
    snr_db double precision,
    "timestamp" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, "timestamp")
);

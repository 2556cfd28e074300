-- What training needs beyond the first columns. Without a rate of its own a recording has 192 kHz.

ALTER TABLE measurements
    ADD COLUMN IF NOT EXISTS approved boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS approved_at timestamptz,
    ADD COLUMN IF NOT EXISTS sample_rate_hz double precision NOT NULL DEFAULT 192000,
    ADD COLUMN IF NOT EXISTS source_id text,         -- sources.id; NULL: unknown transmitter
    ADD COLUMN IF NOT EXISTS start_gps_ns bigint,    -- GPS time of the first sample; NULL: no GPS clock
    ADD COLUMN IF NOT EXISTS timing_sigma_ns double precision,
    ADD COLUMN IF NOT EXISTS simulated boolean NOT NULL DEFAULT false;

CREATE INDEX IF NOT EXISTS measurements_approved_at ON measurements (approved_at);
CREATE INDEX IF NOT EXISTS measurements_session_id ON measurements (session_id);

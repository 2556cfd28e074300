-- Optional: where the TimescaleDB extension is installed in this database, partition by time.
-- Installed later? Run the inner statement by hand.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('measurements', 'timestamp', if_not_exists => true, migrate_data => true);
    END IF;
END
$$;

-- Optional: where the TimescaleDB extension is installed in this database, partition by time. Only a table
-- without rows: the rows of an existing one are not moved. For that, run create_hypertable by hand.

DO $$
DECLARE
    extension_schema name;
BEGIN
    SELECT nspname INTO extension_schema
    FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'timescaledb';
    IF extension_schema IS NOT NULL AND NOT EXISTS (SELECT FROM measurements) THEN
        EXECUTE format(
            'SELECT %I.create_hypertable(%L::regclass, %L, if_not_exists => true)',
            extension_schema, 'measurements', 'timestamp'
        );
    END IF;
END
$$;

-- The table `measurements` of the specification. It has no receivers: sql/specification.receivers.csv has them.
--
-- It does not say when a row was approved. So the row's creation counts, or its time of recording where that is
-- missing too. A row that is approved later than `snapshot.as_of`, but was created before, comes into a snapshot
-- that was taken without it: for data that must stay the same for ever, approve before you choose `as_of`.
--
-- `otherwise` has what counts where the table has no column of that name; what of that matters is said. Without a
-- column `approved` every row counts as approved. The types of the `uses_` columns are looked at, because a time
-- without a zone would count as UTC. If created_at has none, write
-- `created_at AT TIME ZONE 'Europe/Rome' AS uses_created_at` below, with the zone in which it was written. `remark` is
-- said by the snapshot, with the number of rows that it concerns.

-- measurements
SELECT found.*,
    coalesce(uses_approved_at, uses_created_at, "timestamp") AS approved_at,
    concat_ws(
        '; ',
        CASE WHEN all_count THEN 'the table has no column approved, so every row counts as approved' END,
        CASE WHEN one_rate THEN
            'the table has no column sample_rate_hz, so the ' || round(otherwise.sample_rate_hz) || ' Hz of this SELECT count'
        END,
        CASE
            WHEN uses_approved_at IS NULL AND uses_created_at IS NULL THEN 'no moment of approval: timestamp counts'
            WHEN uses_approved_at IS NULL THEN 'no moment of approval: created_at counts'
        END
    ) AS remark
FROM (
    SELECT true AS approved, NULL::timestamptz AS approved_at, NULL::timestamptz AS created_at, 192000.0 AS sample_rate_hz,
        NULL::float8 AS snr_db, NULL::text AS source_id, NULL::text AS modulation, false AS simulated,
        NULL::bigint AS start_gps_ns, NULL::float8 AS timing_sigma_ns,
        NOT 'approved' = ANY(names) AS all_count, NOT 'sample_rate_hz' = ANY(names) AS one_rate
    FROM (
        SELECT array_agg(attname::text) AS names
        FROM pg_attribute
        WHERE attrelid = to_regclass('public.measurements') AND attnum > 0 AND NOT attisdropped
    ) AS columns
) AS otherwise
CROSS JOIN LATERAL (
    SELECT m.id, m.session_id, m.websdr_id, m.latitude, m.longitude, m.frequency_mhz, snr_db, m."timestamp",
        approved_at AS uses_approved_at,
        created_at AS uses_created_at,
        sample_rate_hz, source_id, modulation, simulated, start_gps_ns, timing_sigma_ns
    FROM public.measurements m
    WHERE approved
) AS found

-- The table `measurements` of the specification. It has no receivers: sql/specification.receivers.csv has them.
--
-- It does not say when a row was approved. So the row's creation counts, or its time of recording where that is
-- missing too. A row that is approved later than `snapshot.as_of`, but was created before, comes into a snapshot
-- that was taken without it: for data that must stay the same for ever, approve before you choose `as_of`.
--
-- The outer `approved` counts only where the table has no such column: then every row is taken as approved.

-- measurements
SELECT found.*
FROM (SELECT true AS approved) AS otherwise
CROSS JOIN LATERAL (
    SELECT m.id, m.session_id, m.websdr_id, m.latitude, m.longitude, m.frequency_mhz, m.snr_db, m."timestamp",
        coalesce(m.created_at, m."timestamp") AS approved_at,
        192000.0 AS sample_rate_hz,
        false AS simulated
    FROM public.measurements m
    WHERE approved
) AS found

-- The tables of Heimdall's acquisition service: public.measurements and, in schema heimdall, its stations, known
-- sources and recording sessions.
--
-- `websdr_id` there is no key. It is the number of a station, from 1, among the active ones in order of their
-- names, and it changes for all later names when a station is added, renamed or switched off. So write down which
-- number was which station, and when, in a file of your own: sql/acquisition.receivers.csv. As long as there is
-- none, the numbers are taken as they are now, and the stage says so.
--
-- An approval leaves no time of its own: `updated_at` of the session is the moment of its last change. A change
-- after `snapshot.as_of` takes the session out of that snapshot.
--
-- What is approved counts, also of a session that failed, or of a known source whose place is uncertain. `remark` is
-- said by the snapshot, with the number of rows that it concerns.

-- receivers
SELECT row_number() OVER (ORDER BY name, id) AS id, name, latitude, longitude,
    coalesce(altitude_asl, 0) AS altitude_m
FROM heimdall.websdr_stations
WHERE is_active

-- measurements
SELECT m.id, m.task_id AS session_id, m.websdr_id, k.latitude, k.longitude, m.frequency_mhz, m.snr_db,
    m.timestamp_utc AS "timestamp", r.updated_at AS approved_at, m.sample_rate_khz::float8 * 1000 AS sample_rate_hz,
    r.known_source_id AS source_id, false AS simulated, nullif(m.s3_path, '') AS object_key,
    concat_ws(
        '; ',
        CASE WHEN r.status = 'failed' THEN 'the session failed, and is approved all the same' END,
        CASE WHEN k.error_margin_meters > 100 THEN 'the place of the transmitter is uncertain by more than 100 m' END
    ) AS remark
FROM public.measurements m
JOIN heimdall.recording_sessions r ON r.celery_task_id = m.task_id
LEFT JOIN heimdall.known_sources k ON k.id = r.known_source_id
WHERE r.approval_status = 'approved'

-- Heimdall's own tables, which `heimdall database migrate` makes (schema heimdall, or the one that HEIMDALL_DATABASE_SCHEMA
-- names).

-- receivers
SELECT id, name, latitude, longitude, altitude_m
FROM websdrs

-- measurements
SELECT m.id, m.session_id, m.websdr_id, m.latitude, m.longitude, m.frequency_mhz, m.snr_db, m."timestamp",
    m.approved_at, m.sample_rate_hz, m.source_id, s.modulation, m.simulated, m.start_gps_ns, m.timing_sigma_ns
FROM measurements m
LEFT JOIN sources s ON s.id = m.source_id
WHERE m.approved

-- A recording may be stored before anybody knows where the transmitter is. Such a row is not approved: a snapshot
-- sends an approved one without a place to quarantine.

ALTER TABLE measurements
    ALTER COLUMN latitude DROP NOT NULL,
    ALTER COLUMN longitude DROP NOT NULL;

-- The connection, transactions, and the one row of claims_meta.

-- name: synchronous_normal
PRAGMA synchronous = NORMAL;

-- name: synchronous_full
PRAGMA synchronous = FULL;

-- name: locking_mode_exclusive
PRAGMA locking_mode = EXCLUSIVE;

-- name: begin_exclusive
BEGIN EXCLUSIVE;

-- name: begin_read
BEGIN;

-- name: begin_write
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: savepoint
SAVEPOINT claims_call;

-- name: savepoint_release
RELEASE claims_call;

-- name: savepoint_rollback
ROLLBACK TO claims_call;

-- name: data_version
PRAGMA data_version;

-- name: named_like_ours
SELECT lower(name), type FROM sqlite_schema
WHERE type IN ('table', 'view') AND lower(name) IN (SELECT value FROM carray(?1));

-- name: triggers
SELECT name, lower(tbl_name) FROM sqlite_schema
WHERE type = 'trigger' AND lower(tbl_name) IN (SELECT value FROM carray(?1));

-- name: temporary_of_our_names
SELECT iif(lower(name) GLOB 'claims_*', name, tbl_name) FROM sqlite_temp_schema
WHERE lower(name) GLOB 'claims_*' OR lower(tbl_name) GLOB 'claims_*';

-- Each is above every id that is stored, else one could be given twice.
-- name: lowered_sequences
SELECT column1
FROM (VALUES
    ('claims_instance', max((SELECT coalesce(max(id), 0) FROM claims_instance), (SELECT coalesce(max(instance), 0) FROM claims_pruned))),
    ('claims_lane', (SELECT coalesce(max(id), 0) FROM claims_lane)),
    ('claims_session', (SELECT coalesce(max(id), 0) FROM claims_session)))
WHERE coalesce((SELECT seq FROM sqlite_sequence WHERE name = column1), 0) < column2;

-- name: schema_version
SELECT schema_version FROM claims_meta WHERE id = 1;

-- What ANALYZE makes; sqlite_stat1 is there if any is.
-- name: statistics_tables
SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4');

-- name: statistics
SELECT count(*) FROM sqlite_stat1 WHERE tbl GLOB 'claims_*';

-- name: drop_statistics
DELETE FROM sqlite_stat1 WHERE tbl GLOB 'claims_*';

-- name: drop_samples
DELETE FROM sqlite_stat4 WHERE tbl GLOB 'claims_*';

-- name: set_schema_version
UPDATE claims_meta SET schema_version = ? WHERE id = 1;

-- name: create_meta
INSERT INTO claims_meta (id, schema_version, boot_id, anchor, seen, sleep, token_floor, aging, lanes, moving, due_offset, is_copy)
VALUES (1, ?, ?, ?, ?, ?, 0, NULL, 0, 0, 0, 0);

-- name: meta_timeline
SELECT boot_id, anchor, seen, sleep, token_floor, is_copy FROM claims_meta WHERE id = 1;

-- What a look for work needs to know, and whether the passing of time has left anything to settle first.
-- name: look
SELECT aging, lanes, moving,
    EXISTS (
        SELECT 1 FROM claims_task INDEXED BY claims_task_last
        WHERE state = 2 AND next_at = 4611686018427387904 AND lease_expires IS NOT NULL AND lane > 0 AND lease_expires <= ?1
    ),
    EXISTS (
        SELECT 1 FROM claims_task INDEXED BY claims_task_due WHERE state = 1 AND next_at IS NULL AND due_wall IS NOT NULL AND priority > 0
    ) AND EXISTS (
        SELECT 1 FROM (VALUES (1), (2), (3), (4), (5)) p CROSS JOIN claims_task t INDEXED BY claims_task_due
        ON t.priority = p.column1
        WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.due_wall <= ?2
    )
FROM claims_meta WHERE id = 1;

-- name: lanes_version
SELECT lanes FROM claims_meta WHERE id = 1;

-- name: meta_token_floor
SELECT token_floor FROM claims_meta WHERE id = 1;

-- name: set_seen
UPDATE claims_meta SET seen = max(seen, ?) WHERE id = 1;

-- name: set_sleep
UPDATE claims_meta SET sleep = ? WHERE id = 1;

-- name: set_timeline
UPDATE claims_meta SET boot_id = ?, anchor = ?, seen = ?, sleep = ?, token_floor = ?, is_copy = 0 WHERE id = 1;

-- name: set_aging
UPDATE claims_meta SET aging = ? WHERE id = 1;

-- name: raise_token_floor
UPDATE claims_meta SET token_floor = max(token_floor, ?) WHERE id = 1;

-- name: mark_copy
UPDATE claims_meta SET is_copy = 1 WHERE id = 1;

-- name: lanes_changed
UPDATE claims_meta SET lanes = lanes + 1 WHERE id = 1;

-- name: own_lanes_changed
UPDATE claims_meta SET lanes = lanes + 1 WHERE id = 1 AND EXISTS (SELECT 1 FROM claims_lane WHERE instance = ?);

-- name: count_moving
UPDATE claims_meta SET moving = moving + ? WHERE id = 1;

-- name: due_offset
SELECT due_offset FROM claims_meta WHERE id = 1;

-- name: set_due_offset
UPDATE claims_meta SET due_offset = ? WHERE id = 1;

-- A machine that slept: every lease that could have been alive when it fell asleep is prolonged.
-- name: prolong_leases
UPDATE claims_task
SET lease_expires = lease_expires + ?1, expires_wall = expires_wall + ?1,
    next_at = iif(next_at = 4611686018427387904, next_at, next_at + ?1)
WHERE id IN (
    SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
    UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL
) AND lease_expires IS NOT NULL AND lease_expires > ?2;

-- A new boot: no worker survived it, so every claim is gone, at no cost.
-- name: end_all_claims
UPDATE claims_task
SET state = 1, next_at = available_at, failed_worker = NULL, session = NULL, lease_expires = NULL, expires_wall = NULL,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id IN (
    SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
    UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL
);

-- name: end_all_sessions
DELETE FROM claims_session;

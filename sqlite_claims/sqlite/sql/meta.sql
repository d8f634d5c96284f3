-- Statements for the connection, for transactions, and for the only row of claims_meta.

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

-- Tables and views in the file with the same name as a table of the store.
-- name: named_like_ours
SELECT lower(name), type FROM sqlite_schema
WHERE type IN ('table', 'view') AND lower(name) IN (SELECT value FROM carray(?1));

-- Triggers on the store's tables. The store itself creates no triggers.
-- name: triggers
SELECT name, lower(tbl_name) FROM sqlite_schema
WHERE type = 'trigger' AND lower(tbl_name) IN (SELECT value FROM carray(?1));

-- Temporary objects with a claims_ name, or on a claims_ table.
-- name: temporary_of_our_names
SELECT iif(lower(name) GLOB 'claims_*', name, tbl_name) FROM sqlite_temp_schema
WHERE lower(name) GLOB 'claims_*' OR lower(tbl_name) GLOB 'claims_*';

-- Sequences that are lower than a stored id. With such a sequence, the next id could be one that was already used.
-- name: lowered_sequences
SELECT column1
FROM (VALUES
    ('claims_instances', max((SELECT coalesce(max(id), 0) FROM claims_instances), (SELECT coalesce(max(instance), 0) FROM claims_pruned))),
    ('claims_lanes', (SELECT coalesce(max(id), 0) FROM claims_lanes)),
    ('claims_partitions', (SELECT coalesce(max(id), 0) FROM claims_partitions)),
    ('claims_queues', (SELECT coalesce(max(id), 0) FROM claims_queues)),
    ('claims_sessions', (SELECT coalesce(max(id), 0) FROM claims_sessions)))
WHERE coalesce((SELECT seq FROM sqlite_sequence WHERE name = column1), 0) < column2;

-- name: schema_version
SELECT schema_version FROM claims_meta WHERE id = 1;

-- The tables that ANALYZE writes. If any of these tables exists, sqlite_stat1 exists.
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

-- The first migration runs this statement, so the statement names only columns of version 1.
-- name: create_meta
INSERT INTO claims_meta (id, schema_version, boot_id, anchor, seen, sleep, token_floor, lanes, moving, due_offset, is_copy)
VALUES (1, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0);

-- name: meta_timeline
SELECT boot_id, anchor, seen, sleep, token_floor, is_copy FROM claims_meta WHERE id = 1;

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
UPDATE claims_meta SET aging_interval = ? WHERE id = 1;

-- name: raise_token_floor
UPDATE claims_meta SET token_floor = max(token_floor, ?) WHERE id = 1;

-- name: mark_copy
UPDATE claims_meta SET is_copy = 1 WHERE id = 1;

-- Make every process reload the lanes.
-- name: lanes_changed
UPDATE claims_meta SET lanes = lanes + 1 WHERE id = 1;

-- Make every process reload the lanes, if the instance has its own lanes.
-- name: own_lanes_changed
UPDATE claims_meta SET lanes = lanes + 1 WHERE id = 1 AND EXISTS (SELECT 1 FROM claims_lanes WHERE instance = ?);

-- Change the number of moving instances: by 1 when a control begins, by -1 when all task rows are updated.
-- name: count_moving
UPDATE claims_meta SET moving = moving + ? WHERE id = 1;

-- name: due_offset
SELECT due_offset FROM claims_meta WHERE id = 1;

-- name: set_due_offset
UPDATE claims_meta SET due_offset = ? WHERE id = 1;

-- After a sleep of the machine of length ?1, prolong every lease that had not expired when the sleep began, at ?2.
-- name: prolong_leases
UPDATE claims_tasks
SET lease_expires = lease_expires + ?1, expires_wall = expires_wall + ?1,
    next_at = iif(next_at = {never}, next_at, next_at + ?1)
WHERE id IN ({held}) AND lease_expires IS NOT NULL AND lease_expires > ?2;

-- After a reboot, end every claim without a loss, because no worker survived the reboot.
-- name: end_all_claims
UPDATE claims_tasks SET state = {task.waiting}, next_at = available_at, failed_worker = NULL, {end_claim} WHERE id IN ({held});

-- name: end_all_sessions
DELETE FROM claims_sessions;

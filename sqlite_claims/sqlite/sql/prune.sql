-- Statements for pruning, backups and checks.

-- name: ended_before
SELECT id, finished_wall FROM claims_instances INDEXED BY claims_instance_finished
WHERE finished_wall IS NOT NULL AND finished_wall < ?1 ORDER BY finished_wall LIMIT ?2;

-- name: newest_token
SELECT coalesce(max(token), 0) FROM claims_tasks WHERE instance = ?;

-- 1 if the instance has not changed since it was selected for pruning and is not moving, else 0.
-- name: still_ended
SELECT count(*) FROM claims_instances WHERE id = ?1 AND finished_wall = ?2 AND moving IS NULL;

-- name: drop_instance
DELETE FROM claims_instances WHERE id = ?;

-- name: add_pruned
INSERT INTO claims_pruned (instance) VALUES (?);

-- A pruned instance that may still have tasks.
-- name: pruned
SELECT instance FROM claims_pruned LIMIT 1;

-- name: drop_pruned
DELETE FROM claims_pruned WHERE instance = ?;

-- name: pruned_tasks
SELECT id FROM claims_tasks WHERE instance = ?1 ORDER BY name LIMIT ?2;

-- name: drop_tasks
DELETE FROM claims_tasks WHERE id IN (SELECT value FROM carray(?1));

-- name: drop_inputs
DELETE FROM claims_inputs WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_outputs
DELETE FROM claims_outputs WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_errors
DELETE FROM claims_errors WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_attempts
DELETE FROM claims_attempts WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_checkpoints
DELETE FROM claims_checkpoints WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_all_progress
DELETE FROM claims_progress WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_keys
DELETE FROM claims_keys
WHERE (key, task) IN (SELECT unique_key, task FROM claims_options WHERE task IN (SELECT value FROM carray(?1)));

-- name: drop_options
DELETE FROM claims_options WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_dependencies
DELETE FROM claims_dependencies WHERE task IN (SELECT value FROM carray(?1));

-- Statements that remove the lanes and policies that no task uses.

-- name: shared_lanes
SELECT id FROM claims_lanes WHERE instance = 0;

-- All retry policies except the default policy, which is never removed.
-- name: policies
SELECT id FROM claims_policies WHERE id > 1;

-- name: newest_task_and_instance
SELECT id, instance FROM claims_tasks WHERE id = (SELECT max(id) FROM claims_tasks);

-- name: instance_of
SELECT instance FROM claims_tasks WHERE id = ?;

-- The lane and the policy that each task uses.
-- name: references
SELECT id, abs(lane) & {lane_max} AS lane, policy FROM claims_tasks WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3;

-- name: queues
SELECT id FROM claims_queues;

-- The lanes that queues belong to.
-- name: lanes_of_queues
SELECT lane FROM claims_queues;

-- name: drop_queues
DELETE FROM claims_queues WHERE id IN (SELECT value FROM carray(?1));

-- name: drop_heads
DELETE FROM claims_heads
WHERE side IN (SELECT value FROM carray(?1) UNION ALL SELECT value + {claimed_side} FROM carray(?1));

-- Delete the records of claims that no longer count for a rate, of partitions without tasks.
-- name: drop_old_rated
DELETE FROM claims_rated
WHERE claimed_at <= ?1 - coalesce((
        SELECT l.period FROM claims_partitions p CROSS JOIN claims_limits l ON l.name = {rule_of_partition}
        WHERE p.id = claims_rated.partition
    ), {period_max})
    AND NOT EXISTS (SELECT 1 FROM claims_queues q WHERE q.partition = claims_rated.partition);

-- Delete the partitions that have neither tasks nor claims that count for a rate.
-- name: drop_partitions
DELETE FROM claims_partitions
WHERE NOT EXISTS (SELECT 1 FROM claims_queues q WHERE q.partition = claims_partitions.id)
    AND NOT EXISTS (SELECT 1 FROM claims_rated r WHERE r.partition = claims_partitions.id);

-- name: drop_policies
DELETE FROM claims_policies WHERE id IN (SELECT value FROM carray(?1));

-- name: has_anything
SELECT count(*) FROM sqlite_schema;

-- name: page_count
PRAGMA page_count;

-- name: freelist_count
PRAGMA freelist_count;

-- name: incremental_vacuum
PRAGMA incremental_vacuum(256);

-- name: integrity_check
PRAGMA integrity_check(100);

-- Pruning and checking.

-- name: ended_before
SELECT id, finished_wall, name FROM claims_instance INDEXED BY claims_instance_finished
WHERE finished_wall IS NOT NULL AND finished_wall < ?1 ORDER BY finished_wall LIMIT ?2;

-- name: newest_token
SELECT coalesce(max(token), 0) FROM claims_task WHERE instance = ?;

-- name: still_ended
SELECT count(*) FROM claims_instance WHERE id = ?1 AND finished_wall = ?2;

-- name: drop_instance
DELETE FROM claims_instance WHERE id = ?;

-- name: add_pruned
INSERT INTO claims_pruned (instance) VALUES (?);

-- name: pruned
SELECT instance FROM claims_pruned LIMIT 1;

-- name: drop_pruned
DELETE FROM claims_pruned WHERE instance = ?;

-- name: pruned_tasks
SELECT id FROM claims_task WHERE instance = ?1 ORDER BY name LIMIT ?2;

-- name: drop_tasks
DELETE FROM claims_task WHERE id IN (SELECT value FROM carray(?1));

-- name: drop_inputs
DELETE FROM claims_input WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_outputs
DELETE FROM claims_output WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_errors
DELETE FROM claims_error WHERE task IN (SELECT value FROM carray(?1));

-- name: drop_dependencies
DELETE FROM claims_dependency WHERE task IN (SELECT value FROM carray(?1));

-- name: has_anything
SELECT count(*) FROM sqlite_schema;

-- name: freelist_count
PRAGMA freelist_count;

-- name: incremental_vacuum
PRAGMA incremental_vacuum(256);

-- name: integrity_check
PRAGMA integrity_check(20);

-- Invariants: each names what is wrong. These read the whole file.

-- name: invariant_counters
SELECT 'instance ' || i.name || ': its counters do not match its tasks'
FROM claims_instance i
WHERE i.moving IS NULL AND (i.total, i.blocked, i.completed, i.failed, i.cancelled) IS NOT (
    SELECT count(*), count(*) FILTER (WHERE t.state = 0), count(*) FILTER (WHERE t.state = 3),
        count(*) FILTER (WHERE t.state = 4), count(*) FILTER (WHERE t.state = 5)
    FROM claims_task t WHERE t.instance = i.id)
LIMIT 20;

-- name: invariant_place
SELECT 'task ' || name || ' (row ' || id || '): its place in the index does not fit its state'
FROM claims_task
WHERE (state IN (0, 3, 4, 5) AND next_at IS NOT NULL)
    OR (state = 1 AND next_at IS NULL AND due_wall IS NULL)
    OR (state = 2 AND next_at IS NOT iif(lease_expires IS NULL OR losses + 1 >= max_lost, 4611686018427387904, lease_expires))
    OR (state = 2) != (abs(lane) >= 4294967296)
    OR (state != 2 AND (session IS NOT NULL OR lease_expires IS NOT NULL))
LIMIT 20;

-- name: invariant_lane
SELECT 'task ' || t.name || ' (row ' || t.id || '): its lane does not fit the state of its instance'
FROM claims_task t JOIN claims_instance i ON i.id = t.instance
WHERE i.moving IS NULL AND t.state < 3 AND (t.lane < 0) != (i.state = 1)
LIMIT 20;

-- name: invariant_instance
SELECT 'task ' || t.name || ' (row ' || t.id || ') belongs to no instance'
FROM claims_task t
WHERE t.instance NOT IN (SELECT id FROM claims_instance UNION ALL SELECT instance FROM claims_pruned)
LIMIT 20;

-- name: invariant_dependencies
SELECT 'task ' || t.name || ' (row ' || t.id || '): its count of open dependencies is wrong'
FROM claims_task t
WHERE t.open_deps != (
    SELECT count(*) FROM claims_dependency d JOIN claims_task p ON p.id = d.depends_on WHERE d.task = t.id AND p.state != 3)
LIMIT 20;

-- name: invariant_payloads
SELECT 'a payload or error of row ' || task || ' belongs to no task'
FROM (SELECT task FROM claims_input UNION ALL SELECT task FROM claims_output UNION ALL SELECT task FROM claims_error)
WHERE task NOT IN (SELECT id FROM claims_task)
LIMIT 20;

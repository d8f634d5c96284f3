-- Statements that add instances and tasks.

-- name: instance_by_name
SELECT id, state, total FROM claims_instances WHERE name = ?;

-- name: add_instance
INSERT INTO claims_instances
    (name, state, moving, definition_hash, reason, total, blocked, completed, failed, cancelled, added_wall, finished_wall)
VALUES (?, {instance.in_progress}, NULL, ?, NULL, 0, 0, 0, 0, 0, ?, NULL)
RETURNING id;

-- name: newest_task
SELECT max(id) FROM claims_tasks;

-- The given names (?2) for which the instance has a task already.
-- name: stored_names
SELECT c.value FROM carray(?2) c CROSS JOIN claims_tasks t ON t.instance = ?1 AND t.name = c.value;

-- A task that a new task depends on.
-- name: stored_dependency
SELECT t.id, t.state, (SELECT o.expiring FROM claims_options o WHERE o.task = t.id) AS expiring
FROM claims_tasks t WHERE t.instance = ?1 AND t.name = ?2;

-- The open task that has a unique key.
-- name: key_bearer
SELECT t.id, i.name AS instance_id, t.name AS task_id, o.expiring
FROM claims_keys k CROSS JOIN claims_tasks t ON t.id = k.task CROSS JOIN claims_instances i ON i.id = t.instance
    CROSS JOIN claims_options o ON o.task = t.id
WHERE k.key = ?1 AND t.state < {task.completed} AND i.state != {instance.cancelled};

-- name: set_key
INSERT INTO claims_keys (key, task) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET task = excluded.task;

-- name: key_of
SELECT unique_key FROM claims_options WHERE task = ? AND unique_key IS NOT NULL;

-- name: add_policy
INSERT INTO claims_policies (initial_delay, multiplier, max_delay, jitter) VALUES (?, ?, ?, ?) RETURNING id;

-- name: policy_id
SELECT id FROM claims_policies WHERE initial_delay = ? AND multiplier = ? AND max_delay = ? AND jitter = ?;

-- name: add_task
INSERT INTO claims_tasks
    (id, instance, name, lane, priority, state, available_at, next_at, token, attempts, failures, losses, max_attempts,
     max_lost, policy, open_deps, added_wall, delay, due_wall, input_from)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_input
INSERT INTO claims_inputs (task, data) VALUES (?, ?);

-- name: add_options
INSERT INTO claims_options (task, unique_key, metadata, timeout, expires_wall, expiring) VALUES (?, ?, ?, ?, ?, ?);

-- name: set_expiring
UPDATE claims_meta SET expiring = 1 WHERE id = 1 AND NOT expiring;

-- name: add_dependency
INSERT INTO claims_dependencies (task, depends_on) VALUES (?, ?);

-- Count the tasks that were added. If the instance had ended, set it to in progress again.
-- name: count_added
UPDATE claims_instances
SET total = total + ?2, blocked = blocked + ?3, {reopened}, finished_wall = NULL
WHERE id = ?1;

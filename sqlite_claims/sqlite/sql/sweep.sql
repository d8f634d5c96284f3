-- The sweep, and worker sessions. Each statement that searches for tasks to sweep reads an index, or a part of an
-- index, that is nearly always empty.

-- The values that a search for work needs, and whether there is anything to sweep.
-- name: sweep_state
SELECT aging_interval, lanes AS lanes_version, moving,
    EXISTS (
        SELECT 1 FROM claims_tasks INDEXED BY claims_task_last
        WHERE state = {task.claimed} AND next_at = {never} AND lease_expires IS NOT NULL AND lane > 0 AND lease_expires <= ?1
    ) AS has_expired_last_claims,
    EXISTS (
        SELECT 1 FROM claims_tasks t INDEXED BY claims_task_due WHERE {waits_for_day} AND t.priority > 0
    ) AND EXISTS (
        SELECT 1 FROM {priorities} CROSS JOIN claims_tasks t INDEXED BY claims_task_due ON t.priority = p.column1
        WHERE {waits_for_day} AND t.due_wall <= ?2
    ) OR limited AND EXISTS (
        SELECT 1 FROM claims_partitions INDEXED BY claims_partitions_check WHERE check_at IS NOT NULL AND check_at <= ?1
    ) AS has_due_tasks,
    next_tick,
    iif(expiring, EXISTS (SELECT 1 FROM claims_options o WHERE o.expiring <= ?2), 0) AS has_expired_tasks
FROM claims_meta WHERE id = 1;

-- Whether a task has expired, but is not cancelled yet.
-- name: has_expired_tasks
SELECT EXISTS (SELECT 1 FROM claims_options o WHERE o.expiring <= ?1) FROM claims_meta WHERE id = 1 AND expiring;

-- name: expired_tasks
SELECT o.task FROM claims_options o WHERE o.expiring <= ?1 ORDER BY o.expiring, o.task LIMIT ?2;

-- The tasks among ?1 that have expired.
-- name: expired_among
SELECT o.task FROM carray(?1) c CROSS JOIN claims_options o ON o.task = c.value WHERE o.expiring <= ?2;

-- The task can't expire any more, because the task was claimed or has ended.
-- name: not_expiring
UPDATE claims_options SET expiring = NULL WHERE task IN (SELECT value FROM carray(?1)) AND expiring IS NOT NULL;

-- A cancelled task that was never claimed is open again, so the task can expire.
-- name: expiring_again
UPDATE claims_options SET expiring = expires_wall WHERE task = ? AND expires_wall IS NOT NULL;

-- name: nothing_expires
UPDATE claims_meta SET expiring = 0
WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM claims_options o WHERE o.expiring IS NOT NULL);

-- Tasks whose last claim has expired. The sweep fails these tasks.
-- name: expired_last_claims
SELECT t.id FROM claims_tasks t INDEXED BY claims_task_last CROSS JOIN claims_instances i ON i.id = t.instance
WHERE t.state = {task.claimed} AND t.next_at = {never} AND t.lease_expires IS NOT NULL AND t.lane > 0
    AND t.lease_expires <= ?1 AND i.state = {instance.in_progress}
ORDER BY t.lease_expires LIMIT ?2;

-- Tasks on the paused sides of the lanes whose last claim has expired. While an instance is moving, tasks of a resumed
-- instance can still be on a paused side.
-- name: expired_last_claims_in_motion
SELECT t.id FROM claims_tasks t INDEXED BY claims_task_next CROSS JOIN claims_instances i ON i.id = t.instance
WHERE (SELECT moving FROM claims_meta WHERE id = 1) > 0 AND t.lane <= -{claimed_side}
    AND t.next_at = {never} AND t.lease_expires <= ?1 AND i.state = {instance.in_progress}
LIMIT ?2;

-- Tasks of one priority that have become due but have no position yet.
-- name: due_tasks
SELECT t.id, t.due_wall, t.lane FROM claims_tasks t INDEXED BY claims_task_due
WHERE {waits_for_day} AND t.priority = ?1 AND t.due_wall <= ?2
ORDER BY t.due_wall LIMIT ?3;

-- Give a task its position in the order of claims.
-- name: set_position
UPDATE claims_tasks SET next_at = ?2, available_at = ?2 WHERE id = ?1;

-- name: task_of_loss
SELECT t.instance, i.state AS instance_state, t.losses, t.max_lost, t.state, t.lane
FROM claims_tasks t CROSS JOIN claims_instances i ON i.id = t.instance
WHERE t.id = ?1;

-- name: sessions
SELECT id, pid FROM claims_sessions ORDER BY id LIMIT 10000;

-- name: newest_session
SELECT coalesce(max(id), 0) FROM claims_sessions;

-- name: session_pid
SELECT pid FROM claims_sessions WHERE id = ?;

-- The tasks that are claimed in a session. The statement is the part `held` with one more condition in each half.
-- name: session_claims
SELECT id FROM claims_tasks WHERE lane >= {claimed_side} AND next_at IS NOT NULL AND session = ?1
UNION ALL SELECT id FROM claims_tasks WHERE lane <= -{claimed_side} AND next_at IS NOT NULL AND session = ?1
LIMIT ?2;

-- name: session_of
SELECT session FROM claims_tasks WHERE id = ?;

-- name: add_session
INSERT INTO claims_sessions (worker, pid, started_wall) VALUES (?, ?, ?) RETURNING id;

-- name: drop_session
DELETE FROM claims_sessions WHERE id = ?;

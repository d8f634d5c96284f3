-- Statements that read the store for people and programs.

-- name: task
SELECT {task_columns}
FROM claims_instances i CROSS JOIN claims_tasks t ON t.instance = i.id AND t.name = ?2
    {input_joins} {result_joins}
WHERE i.name = ?1;

-- name: task_by_row
SELECT {task_columns}
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value CROSS JOIN claims_instances i ON i.id = t.instance
    {input_joins} {result_joins};

-- The tasks among ?1 that have ended, with the store time of the end. ?2: 1 if instances are moving, so that tasks of
-- cancelled instances have ended now (?3) although their rows do not show it yet. A task that ended under schema version
-- 2 has no store time of its end, and comes first.
-- name: ended_among
SELECT iif(t.state >= {task.completed}, coalesce(t.lease_expires, 0), ?3), t.id FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value
WHERE t.state >= {task.completed}
    OR ?2 AND (SELECT i.state FROM claims_instances i WHERE i.id = t.instance) = {instance.cancelled};

-- The tasks among ?1 that still exist, with the rows of their instances.
-- name: existing_among
SELECT t.id, t.instance FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value CROSS JOIN claims_instances i ON i.id = t.instance;

-- name: moving
SELECT moving FROM claims_meta WHERE id = 1;

-- name: options
SELECT o.task, o.unique_key, o.metadata, o.timeout, o.expires_wall, o.expiring
FROM carray(?1) c CROSS JOIN claims_options o ON o.task = c.value;

-- The names and states of the tasks that a task depends on.
-- name: dependencies
SELECT p.name, p.state FROM claims_dependencies d CROSS JOIN claims_tasks p ON p.id = d.depends_on
WHERE d.task = ? ORDER BY p.name;

-- name: instance
SELECT {instance_columns} FROM claims_instances WHERE name = ?;

-- name: instances_page
SELECT {instance_columns} FROM claims_instances WHERE id > ? ORDER BY id LIMIT ?;

-- name: instance_claims
WITH held (id) AS ({held})
SELECT count(*) FROM held CROSS JOIN claims_tasks t ON t.id = held.id WHERE t.instance = ?;

-- The number of scheduled tasks of an instance, found by reading all tasks of the instance. Fast for small instances.
-- name: scheduled_among_own
SELECT count(*) FROM claims_tasks INDEXED BY sqlite_autoindex_claims_tasks_1
WHERE instance = ?1 AND state = {task.waiting} AND (next_at > ?2 OR next_at IS NULL AND due_wall > ?3);

-- The number of scheduled tasks of an instance, found by reading all scheduled tasks. Fast for large instances.
-- name: scheduled_of_instance
{with_used_lanes}
SELECT coalesce(sum((
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_next
    WHERE abs(lane.id) < {claimed_side}
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?2 AND t.state = {task.waiting} AND t.instance = ?1
)), 0) + (
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_due
    WHERE {waits_for_day} AND t.due_wall > ?3 AND t.instance = ?1
)
FROM lane CROSS JOIN {priorities};

-- The number of scheduled tasks, and the position of the ready task without a limit that has waited longest.
-- name: waiting
{with_used_lanes}
SELECT coalesce(sum((
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_next
    WHERE abs(lane.id) < {claimed_side} AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?1
)), 0) + (
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_due
    WHERE {waits_for_day} AND t.due_wall > ?2
), min((
    SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next
    WHERE lane.id > 0 AND lane.id & {queue_min} = 0
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at <= ?1 ORDER BY t.next_at LIMIT 1
))
FROM lane CROSS JOIN {priorities};

-- The same numbers as in `waiting`. This statement is used while an instance is moving, because then the rows of some
-- tasks are not updated yet.
-- name: waiting_in_motion
{with_used_lanes},
resumed (id) AS (
    SELECT id FROM claims_instances INDEXED BY claims_instance_moving WHERE moving IS NOT NULL AND state = {instance.in_progress}
)
SELECT coalesce(sum((
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_next CROSS JOIN claims_instances i ON i.id = t.instance
    WHERE abs(lane.id) < {claimed_side}
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?1 AND t.state = {task.waiting} AND i.state != {instance.cancelled}
)), 0) + (
    SELECT count(*) FROM claims_tasks t INDEXED BY claims_task_due CROSS JOIN claims_instances i ON i.id = t.instance
    WHERE {waits_for_day} AND t.due_wall > ?2 AND i.state != {instance.cancelled}
), min((
    SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next CROSS JOIN claims_instances i ON i.id = t.instance
    WHERE (lane.id > 0 OR EXISTS (SELECT 1 FROM resumed)) AND abs(lane.id) & {queue_min} = 0
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at <= ?1 AND i.state = {instance.in_progress}
    ORDER BY t.next_at LIMIT 1
))
FROM lane CROSS JOIN {priorities};

-- The earliest due_wall of the tasks without a limit that are due but have no position yet, because no sweep has run since they became
-- due.
-- name: longest_due
SELECT min((
    SELECT t.due_wall FROM claims_tasks t INDEXED BY claims_task_due CROSS JOIN claims_instances i ON i.id = t.instance
    WHERE {waits_for_day} AND t.priority = p.column1 AND t.due_wall <= ?1 AND abs(t.lane) & {queue_min} = 0
        AND i.state = {instance.in_progress}
    ORDER BY t.due_wall LIMIT 1
))
FROM {priorities};

-- name: totals
SELECT coalesce(sum(total), 0) AS total, coalesce(sum(blocked), 0) AS blocked, coalesce(sum(completed), 0) AS completed,
    coalesce(sum(failed), 0) AS failed, coalesce(sum(cancelled), 0) AS cancelled
FROM claims_instances;

-- name: totals_of_instance
SELECT total, blocked, completed, failed, cancelled FROM claims_instances WHERE id = ?;

-- The number of claims, and the number of claims that have not expired.
-- name: claim_counts
WITH held (id) AS ({held})
SELECT count(*), count(*) FILTER (WHERE t.lease_expires IS NULL OR t.lease_expires > ?1)
FROM held CROSS JOIN claims_tasks t ON t.id = held.id CROSS JOIN claims_instances i ON i.id = t.instance
WHERE i.state != {instance.cancelled};

-- The ids of all claimed tasks.
-- name: claims
{held};

-- name: claims_page
SELECT t.id, i.name AS instance_id, t.name AS task_id, t.worker, t.started_wall, t.expires_wall, t.token, t.lease_expires
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value CROSS JOIN claims_instances i ON i.id = t.instance
WHERE t.state = {task.claimed} AND i.state != {instance.cancelled};

-- A page of a list of tasks. The next page starts after page_end of the last row.
-- name: task_rows_page
SELECT t.id, t.id AS page_end, {listed_columns}
FROM claims_tasks t WHERE t.id > ?1 ORDER BY t.id LIMIT ?2;

-- name: task_rows
SELECT t.id, t.id AS page_end, {listed_columns}
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value;

-- name: task_rows_of_instance_page
SELECT t.id, t.name AS page_end, {listed_columns}
FROM claims_tasks t WHERE t.instance = ?3 AND t.name > ?1 ORDER BY t.name LIMIT ?2;

-- The ids of the scheduled tasks.
-- name: scheduled_rows
{with_used_lanes}
SELECT t.id FROM lane CROSS JOIN {priorities} CROSS JOIN claims_tasks t INDEXED BY claims_task_next
    ON t.lane = lane.id AND t.priority = p.column1
WHERE abs(lane.id) < {claimed_side} AND t.next_at > ?1
UNION ALL
SELECT t.id FROM {priorities} CROSS JOIN claims_tasks t INDEXED BY claims_task_due
    ON t.priority = p.column1
WHERE {waits_for_day} AND t.due_wall > ?2;

-- The tasks that have a stored error: failed tasks, and tasks that are retried after a failure.
-- name: rows_with_error
SELECT task FROM claims_errors;

-- Cancelled instances with tasks whose rows do not have the state cancelled yet.
-- name: cancelled_in_motion
SELECT id FROM claims_instances INDEXED BY claims_instance_moving
WHERE moving IS NOT NULL AND state = {instance.cancelled};

-- The sessions, each with its number of claims.
-- name: workers
WITH held (id) AS ({held})
SELECT s.id, s.worker, s.pid, s.started_wall, count(t.id) AS claims
FROM claims_sessions s LEFT JOIN (SELECT t.id, t.session FROM held CROSS JOIN claims_tasks t ON t.id = held.id) t ON t.session = s.id
GROUP BY s.id;

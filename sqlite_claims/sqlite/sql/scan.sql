-- The scan for claimable tasks. The first two statements read the index claims_task_next alone; INDEXED BY turns any
-- other plan into an error. They avoid row-value comparisons, for which SQLite would scan instead of seeking.

-- The first rows of a lane with a higher priority number than ?2. Within a priority all due rows come before the others,
-- so if a priority's first row is not due, none of it is.
-- name: scan_head
SELECT priority, next_at, id
FROM claims_task INDEXED BY claims_task_next
WHERE lane = ?1 AND priority > ?2 AND next_at IS NOT NULL
ORDER BY priority, next_at, id
LIMIT ?3;

-- The rows after the row (next_at, id) = (?3, ?4) in its lane and priority: those with the same next_at, then the later
-- ones up to now (?5). SQLite merges the two seeks without sorting.
-- name: scan_range
SELECT priority, next_at, id
FROM claims_task INDEXED BY claims_task_next
WHERE lane = ?1 AND priority = ?2 AND next_at = ?3 AND id > ?4
UNION ALL
SELECT priority, next_at, id
FROM claims_task INDEXED BY claims_task_next
WHERE lane = ?1 AND priority = ?2 AND next_at > ?3 AND next_at <= ?5
ORDER BY next_at, id
LIMIT ?6;

-- The state of a task's instance. Only needed while an instance is in motion.
-- name: scan_instance_state
SELECT state FROM claims_instance WHERE id = (SELECT instance FROM claims_task WHERE id = ?1);

-- The scan for claimable tasks. The first two statements read only the index claims_task_next. If SQLite can't use this
-- index, INDEXED BY raises an error. Both statements avoid row-value comparisons, because with such a comparison SQLite
-- would scan the index instead of seeking in it.

-- The first rows of a lane with a higher priority number than ?2. Within a priority, all due rows come before the rows
-- that are not due. So if the first row of a priority is not due, no row of this priority is due.
-- name: scan_head
SELECT priority, next_at, id
FROM claims_tasks INDEXED BY claims_task_next
WHERE lane = ?1 AND priority > ?2 AND next_at IS NOT NULL
ORDER BY priority, next_at, id
LIMIT ?3;

-- The rows after the row (next_at, id) = (?3, ?4) in the same lane and priority: first the rows with the same next_at,
-- then the rows with a later next_at, up to now (?5). SQLite merges the results of the two seeks without sorting.
-- name: scan_range
SELECT priority, next_at, id
FROM claims_tasks INDEXED BY claims_task_next
WHERE lane = ?1 AND priority = ?2 AND next_at = ?3 AND id > ?4
UNION ALL
SELECT priority, next_at, id
FROM claims_tasks INDEXED BY claims_task_next
WHERE lane = ?1 AND priority = ?2 AND next_at > ?3 AND next_at <= ?5
ORDER BY next_at, id
LIMIT ?6;

-- The state of a task's instance. The scan reads this state only while an instance is moving.
-- name: scan_instance_state
SELECT state FROM claims_instances WHERE id = (SELECT instance FROM claims_tasks WHERE id = ?1);

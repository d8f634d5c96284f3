-- Which tasks may be claimed. The first two walk claims_task_next and nothing else; INDEXED BY makes an error of a plan
-- that would do otherwise. No row-value comparison stands here: SQLite would scan for what it seeks by single columns.

-- The first rows of a lane beyond a priority. In each priority all that is due comes before what is not, so a first
-- row that is not due yet means that its priority has none.
-- name: scan_head
SELECT priority, next_at, id
FROM claims_task INDEXED BY claims_task_next
WHERE lane = ?1 AND priority > ?2 AND next_at IS NOT NULL
ORDER BY priority, next_at, id
LIMIT ?3;

-- What follows the row (next_at, id) = (?3, ?4) in its lane and priority: those of the same time, then the later ones
-- up to now. SQLite merges the two seeks without sorting.
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

-- Asked only while some instance's rows are still entering or leaving the index.
-- name: scan_instance_state
SELECT state FROM claims_instance WHERE id = (SELECT instance FROM claims_task WHERE id = ?1);

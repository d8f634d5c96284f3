-- Completing, failing, and what follows for others.

-- Checked and done in one step, where nothing follows but the count: for the caller's claim, never tried
-- or lost before, and without dependents.
-- name: complete_plain
UPDATE claims_task
SET state = 3, next_at = NULL, session = NULL, lease_expires = NULL, expires_wall = NULL, finished_wall = ?2,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id = ?1 AND token = ?3 AND state = 2 AND name = ?4 AND failures = 0 AND losses = 0
    AND instance = (SELECT id FROM claims_instance WHERE name = ?5 AND total - completed - failed - cancelled > 1)
    AND NOT EXISTS (SELECT 1 FROM claims_dependency WHERE depends_on = ?1);

-- name: count_completed
UPDATE claims_instance SET completed = completed + 1 WHERE name = ?;

-- name: complete_many
UPDATE claims_task
SET state = 3, next_at = NULL, session = NULL, lease_expires = NULL, expires_wall = NULL, finished_wall = ?2,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id IN (SELECT value FROM carray(?1));

-- name: store_output
INSERT INTO claims_output (task, data) VALUES (?, ?);

-- name: store_error
INSERT INTO claims_error (task, message) VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET message = excluded.message;

-- name: drop_error
DELETE FROM claims_error WHERE task = ?;

-- name: policy
SELECT initial_delay, multiplier, max_delay, jitter FROM claims_policy WHERE id = ?;

-- name: retry_later
UPDATE claims_task
SET state = 1, next_at = ?2, available_at = ?2, failures = failures + 1, failed_worker = worker,
    session = NULL, lease_expires = NULL, expires_wall = NULL,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id = ?1;

-- name: fail
UPDATE claims_task
SET state = 4, next_at = NULL, failures = failures + ?2, losses = losses + ?3,
    failed_worker = iif(?2, worker, failed_worker),
    session = NULL, lease_expires = NULL, expires_wall = NULL, finished_wall = ?4,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id = ?1;

-- A claim whose worker died: a loss, and its place is now.
-- name: lose
UPDATE claims_task
SET state = 1, next_at = ?2, available_at = ?2, losses = losses + 1, failed_worker = NULL,
    session = NULL, lease_expires = NULL, expires_wall = NULL,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id = ?1;

-- The instance's counters; it ends when no task of it is open.
-- name: count_ended
UPDATE claims_instance
SET completed = completed + ?2, failed = failed + ?3, cancelled = cancelled + ?4, blocked = blocked - ?5
WHERE id = ?1;

-- name: open_tasks
SELECT total - completed - failed - cancelled, total - completed FROM claims_instance WHERE id = ?;

-- name: end_instance
UPDATE claims_instance SET state = ?2, finished_wall = ?3 WHERE id = ?1;

-- Dependents of a completed task, and how many of them have no other open dependency.
-- name: count_unblocked
SELECT count(*) FROM claims_dependency d CROSS JOIN claims_task t ON t.id = d.task
WHERE d.depends_on = ?1 AND t.open_deps = 1 AND t.state = 0;

-- name: unblock
UPDATE claims_task
SET open_deps = open_deps - 1,
    state = iif(open_deps = 1 AND state = 0, 1, state),
    available_at = iif(open_deps = 1 AND state = 0, ?2 + coalesce(delay, 0), available_at),
    next_at = iif(open_deps = 1 AND state = 0 AND coalesce(due_wall <= ?3, TRUE), ?2 + coalesce(delay, 0), next_at)
WHERE id IN (SELECT task FROM claims_dependency WHERE depends_on = ?1);

-- All that depends, over any number of steps, on a task that failed.
-- name: cancel_dependents
WITH RECURSIVE dependent (id) AS (
    SELECT task FROM claims_dependency WHERE depends_on = ?1
    UNION
    SELECT d.task FROM dependent CROSS JOIN claims_dependency d ON d.depends_on = dependent.id
)
UPDATE claims_task SET state = 5, next_at = NULL, finished_wall = ?2
WHERE id IN (SELECT id FROM dependent) AND state = 0;

-- name: task_to_retry
SELECT t.id, t.instance, t.state, i.state
FROM claims_instance i CROSS JOIN claims_task t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

-- name: retry
UPDATE claims_task
SET state = 1, next_at = ?2, available_at = ?2, attempts = 0, failures = 0, losses = 0, worker = NULL,
    failed_worker = NULL, started_wall = NULL, finished_wall = NULL,
    lane = iif(?3, -abs(lane), abs(lane)), delay = delay, due_wall = due_wall
WHERE id = ?1;

-- Dependents of a task that is open again, where nothing else they need has failed or was cancelled.
-- name: restorable
SELECT t.id FROM claims_dependency d CROSS JOIN claims_task t ON t.id = d.task
WHERE d.depends_on = ?1 AND t.state = 5 AND NOT EXISTS (
    SELECT 1 FROM claims_dependency other CROSS JOIN claims_task p ON p.id = other.depends_on
    WHERE other.task = t.id AND p.state IN (4, 5)
);

-- name: restore_dependent
UPDATE claims_task
SET state = 0, finished_wall = NULL, lane = iif(?2, -abs(lane), abs(lane))
WHERE id = ?1;

-- name: reopen_instance
UPDATE claims_instance
SET failed = failed - ?2, cancelled = cancelled - ?3, blocked = blocked + ?3,
    state = iif(state = 1, 1, 0), finished_wall = NULL
WHERE id = ?1;

-- What looking for work settles. Each is a look at an index that is nearly always empty.

-- name: exhausted
SELECT t.id FROM claims_task t INDEXED BY claims_task_last CROSS JOIN claims_instance i ON i.id = t.instance
WHERE t.state = 2 AND t.next_at = 4611686018427387904 AND t.lease_expires IS NOT NULL AND t.lane > 0 AND t.lease_expires <= ?1
    AND i.state = 0
ORDER BY t.lease_expires LIMIT ?2;

-- The same of a resumed instance whose rows are on the paused side yet: among all claims there, where anything moves.
-- name: exhausted_in_motion
SELECT t.id FROM claims_task t INDEXED BY claims_task_next CROSS JOIN claims_instance i ON i.id = t.instance
WHERE (SELECT moving FROM claims_meta WHERE id = 1) > 0 AND t.lane <= -4294967296
    AND t.next_at = 4611686018427387904 AND t.lease_expires <= ?1 AND i.state = 0
LIMIT ?2;

-- name: due
SELECT id, due_wall FROM claims_task INDEXED BY claims_task_due
WHERE state = 1 AND next_at IS NULL AND due_wall IS NOT NULL AND priority = ?1 AND due_wall <= ?2
ORDER BY due_wall LIMIT ?3;

-- name: make_due
UPDATE claims_task SET next_at = ?2, available_at = ?2 WHERE id = ?1;

-- name: task_to_lose
SELECT t.instance, i.state, t.losses, t.max_lost, t.state
FROM claims_task t CROSS JOIN claims_instance i ON i.id = t.instance
WHERE t.id = ?1;

-- name: sessions
SELECT id, pid FROM claims_session ORDER BY id LIMIT 10000;

-- name: newest_session
SELECT coalesce(max(id), 0) FROM claims_session;

-- name: session_pid
SELECT pid FROM claims_session WHERE id = ?;

-- name: session_claims
SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL AND session = ?1
UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL AND session = ?1
LIMIT ?2;

-- name: session_of
SELECT session FROM claims_task WHERE id = ?;

-- name: add_session
INSERT INTO claims_session (worker, pid, started_wall) VALUES (?, ?, ?) RETURNING id;

-- name: drop_session
DELETE FROM claims_session WHERE id = ?;

-- Statements that complete, fail and retry tasks, record losses, and update the dependents and the instance of a task.

-- Assignments that end the task's claim and the task. ?2: the wall-clock time. ?3: the store time, by which ended tasks
-- are ordered.
-- part: ended_at_2_3
next_at = NULL, finished_wall = ?2, session = NULL, lease_expires = ?3, expires_wall = NULL, lane = {from_claimed_side}

-- Check a claim and complete its task in one statement, if only the instance's counter has to be updated afterwards.
-- The statement matches a task only if the task has no losses, failures, checkpoint, limit or dependents, is not on a
-- paused side, and is not the last open task of its instance.
-- name: complete_plain
UPDATE claims_tasks SET state = {task.completed}, {ended_at_2_3}
WHERE id = ?1 AND token = ?4 AND state = {task.claimed} AND name = ?5 AND failures = 0 AND losses = 0
    AND open_deps = 0 AND lane & {plain_lane_mask} = {claimed_side}
    AND instance = (SELECT id FROM claims_instances WHERE name = ?6 AND total - completed - failed - cancelled > 1)
    AND NOT EXISTS (SELECT 1 FROM claims_dependencies WHERE depends_on = ?1);

-- Store a report of progress. A value that is NULL keeps the stored value.
-- name: set_progress
INSERT INTO claims_progress (task, done, total, note, reported_wall) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (task) DO UPDATE SET done = coalesce(excluded.done, done), total = coalesce(excluded.total, total),
    note = coalesce(excluded.note, note), reported_wall = excluded.reported_wall;

-- name: set_checkpoint
INSERT INTO claims_checkpoints (task, data) VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET data = excluded.data;

-- Record that the task has a checkpoint, so that complete_plain leaves the task to complete_many.
-- name: mark_checkpoint
UPDATE claims_tasks SET open_deps = -1 WHERE id = ? AND open_deps = 0;

-- name: drop_checkpoint
DELETE FROM claims_checkpoints WHERE task = ?;

-- name: drop_progress
DELETE FROM claims_progress WHERE task = ?;

-- name: count_completed
UPDATE claims_instances SET completed = completed + 1 WHERE name = ?;

-- name: complete_many
UPDATE claims_tasks SET state = {task.completed}, {ended_at_2_3} WHERE id IN (SELECT value FROM carray(?1));

-- name: store_output
INSERT INTO claims_outputs (task, data) VALUES (?, ?);

-- name: store_error
INSERT INTO claims_errors (task, message) VALUES (?, ?) ON CONFLICT (task) DO UPDATE SET message = excluded.message;

-- name: drop_error
DELETE FROM claims_errors WHERE task = ?;

-- name: policy
SELECT initial_delay, multiplier, max_delay, jitter FROM claims_policies WHERE id = ?;

-- Record a failure after which the task is retried at the position ?2.
-- name: retry_later
UPDATE claims_tasks SET {waiting_from_2}, failures = failures + 1, failed_worker = worker, {end_claim} WHERE id = ?1;

-- Set a task to failed. Add ?4 to the task's failures and ?5 to its losses.
-- name: fail
UPDATE claims_tasks
SET state = {task.failed}, failures = failures + ?4, losses = losses + ?5, failed_worker = iif(?4, worker, failed_worker),
    {ended_at_2_3}
WHERE id = ?1;

-- Record how the current attempt of a task ended.
-- name: add_attempt
INSERT INTO claims_attempts (task, attempt, worker, started_wall, ended_wall, outcome, error, detail)
SELECT id, attempts, worker, started_wall, ?2, ?3, ?4, ?5 FROM claims_tasks WHERE id = ?1;

-- Record the losses of the expired claims among these tasks, before the tasks are claimed again.
-- name: add_lost_attempts
INSERT INTO claims_attempts (task, attempt, worker, started_wall, ended_wall, outcome, error, detail)
SELECT t.id, t.attempts, t.worker, t.started_wall, ?2, {attempt.lost}, ?3, x''
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value WHERE t.state = {task.claimed};

-- Delete the oldest attempt of a task if there are more than 20.
-- name: drop_oldest_attempt
DELETE FROM claims_attempts
WHERE id = (SELECT id FROM claims_attempts WHERE task = ?1 ORDER BY id DESC LIMIT 1 OFFSET 20);

-- name: attempts
SELECT attempt, worker, started_wall, ended_wall, outcome, error, detail FROM claims_attempts WHERE task = ? ORDER BY id;

-- Record the loss of a claim. The task's position becomes ?2, the current store time.
-- name: record_loss
UPDATE claims_tasks SET {waiting_from_2}, losses = losses + 1, failed_worker = NULL, {end_claim} WHERE id = ?1;

-- name: count_ended
UPDATE claims_instances
SET completed = completed + ?2, failed = failed + ?3, cancelled = cancelled + ?4, blocked = blocked - ?5
WHERE id = ?1;

-- The numbers of open, failed and completed tasks of an instance.
-- name: open_tasks
SELECT total - completed - failed - cancelled, failed, completed FROM claims_instances WHERE id = ?;

-- name: end_instance
UPDATE claims_instances SET state = ?2, finished_wall = ?3 WHERE id = ?1;

-- The number of blocked tasks whose only open dependency is this task. The second number is 0 if none has a limit.
-- name: count_unblocked
SELECT count(*), coalesce(max(abs(t.lane) & {queue_min}), 0) FROM claims_dependencies d CROSS JOIN claims_tasks t ON t.id = d.task
WHERE d.depends_on = ?1 AND t.open_deps = 1 AND t.state = {task.blocked};

-- Subtract a completed task from the open dependencies of its dependents. A dependent without any other open dependency
-- becomes waiting now (?2); ?3 is the wall-clock time.
-- name: unblock
UPDATE claims_tasks
SET open_deps = open_deps - 1,
    state = iif(open_deps = 1 AND state = {task.blocked}, {task.waiting}, state),
    available_at = iif(open_deps = 1 AND state = {task.blocked}, ?2 + coalesce(delay, 0), available_at),
    next_at = iif(open_deps = 1 AND state = {task.blocked} AND coalesce(due_wall <= ?3, TRUE), ?2 + coalesce(delay, 0), next_at)
WHERE id IN (SELECT task FROM claims_dependencies WHERE depends_on = ?1);

-- Cancel a task without a claim at the wall-clock time ?2 and the store time ?3.
-- name: cancel
UPDATE claims_tasks SET state = {task.cancelled}, next_at = NULL, finished_wall = ?2, lease_expires = ?3 WHERE id = ?1;

-- Cancel all direct and indirect dependents of a task that failed or was cancelled.
-- name: cancel_dependents
WITH RECURSIVE dependent (id) AS (
    SELECT task FROM claims_dependencies WHERE depends_on = ?1
    UNION
    SELECT d.task FROM dependent CROSS JOIN claims_dependencies d ON d.depends_on = dependent.id
)
UPDATE claims_tasks SET state = {task.cancelled}, next_at = NULL, finished_wall = ?2, lease_expires = ?3
WHERE id IN (SELECT id FROM dependent) AND state = {task.blocked};

-- name: task_and_instance
SELECT t.id, t.instance, t.state, i.state AS instance_state, t.lane
FROM claims_instances i CROSS JOIN claims_tasks t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

-- Restart a failed task at the position ?2. ?3: 1 if its instance is paused, else 0.
-- name: retry
UPDATE claims_tasks
SET {waiting_from_2}, attempts = 0, failures = 0, losses = 0, worker = NULL, failed_worker = NULL, started_wall = NULL,
    finished_wall = NULL, lease_expires = NULL, open_deps = 0, lane = iif(?3, -abs(lane), abs(lane))
WHERE id = ?1;

-- The cancelled dependents of a task that is open again, except dependents that have a further dependency which failed
-- or was cancelled. Dependents with an error stay cancelled, because they expired.
-- name: restorable
SELECT t.id FROM claims_dependencies d CROSS JOIN claims_tasks t ON t.id = d.task
WHERE d.depends_on = ?1 AND t.state = {task.cancelled}
    AND NOT EXISTS (SELECT 1 FROM claims_errors e WHERE e.task = t.id) AND NOT EXISTS (
    SELECT 1 FROM claims_dependencies other CROSS JOIN claims_tasks p ON p.id = other.depends_on
    WHERE other.task = t.id AND p.state IN ({task.failed}, {task.cancelled})
);

-- name: restore_dependent
UPDATE claims_tasks
SET state = {task.blocked}, finished_wall = NULL, lease_expires = NULL, lane = iif(?2, -abs(lane), abs(lane))
WHERE id = ?1;

-- Count the tasks that are open again: ?2 tasks that had failed, and ?3 tasks that were cancelled.
-- name: reopen_instance
UPDATE claims_instances
SET failed = failed - ?2, cancelled = cancelled - ?3, blocked = blocked + ?3, {reopened}, finished_wall = NULL
WHERE id = ?1;

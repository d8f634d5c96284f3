-- Statements that find, claim and release tasks, and renew claims.

-- The lanes whose id is larger than the bound value. instance_state: the state of the instance that owns the lane, NULL
-- for a shared lane.
-- name: lanes
SELECT l.id, l.kind, l.tags, l.instance,
    (SELECT i.state FROM claims_instances i WHERE i.id = l.instance) AS instance_state, l.traits
FROM claims_lanes l WHERE l.id > ?;

-- The lanes, and the sides of lanes, that have tasks in the index and whose number is above ?1. Queues are skipped: of
-- the queues on one side, the result can contain the first.
-- name: lanes_with_rows
WITH RECURSIVE used (lane) AS (
    {lane_above} ?1
    UNION ALL
    SELECT ({lane_above} iif(abs(used.lane) & {queue_min}, CASE
        WHEN used.lane <= -{claimed_queue_min} THEN -{claimed_queue_min}
        WHEN used.lane < 0 THEN -{queue_min}
        WHEN used.lane < {claimed_side} THEN {claimed_side}
        ELSE {never}
    END, used.lane)) FROM used WHERE used.lane IS NOT NULL
)
SELECT lane FROM used WHERE lane IS NOT NULL LIMIT ?2;

-- name: queue
SELECT lane, partition FROM claims_queues WHERE id = ?;

-- name: add_lane
INSERT INTO claims_lanes (instance, kind, tags, traits) VALUES (?, ?, ?, ?) RETURNING id;

-- name: drop_lanes
DELETE FROM claims_lanes WHERE id IN (SELECT value FROM carray(?1));

-- name: drop_own_lanes
DELETE FROM claims_lanes WHERE instance = ?;

-- One task by name, with the columns that a claim by name and the operations by worker id need.
-- name: task_by_name
SELECT t.id, i.state AS instance_state, t.state, t.next_at, t.lease_expires, t.token, t.losses, t.max_lost, t.worker,
    t.session, t.due_wall, t.expires_wall, t.lane
FROM claims_instances i CROSS JOIN claims_tasks t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

-- The tasks that a search for work has found, in the order of the ids.
-- name: tasks_found
SELECT {found_columns}
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value CROSS JOIN claims_instances i ON i.id = t.instance
    {input_joins};

-- One task that a search for work has found.
-- name: task_found
SELECT {found_columns}
FROM claims_tasks t CROSS JOIN claims_instances i ON i.id = t.instance
    {input_joins}
WHERE t.id = ?1;

-- The first time after now (?2) at which a task of these lanes becomes due or its claim expires.
-- name: next_position
SELECT min((
    SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next
    WHERE t.lane = l.value AND t.priority = p.column1 AND t.next_at > ?2 ORDER BY t.next_at LIMIT 1
))
FROM carray(?1) l CROSS JOIN {priorities};

-- The wall-clock time at which the next task that waits for a time of day becomes due.
-- name: next_due
SELECT min((
    SELECT t.due_wall FROM claims_tasks t INDEXED BY claims_task_due
    WHERE {waits_for_day} AND t.priority = p.column1
    ORDER BY t.due_wall LIMIT 1
))
FROM {priorities};

-- Claim a task that is ready, or whose claim has expired. An expired claim counts as a loss, and its expiry becomes the
-- task's position. (In SQL, the right side of each = uses the values from before the UPDATE.) A last claim gets the
-- next_at "never", so no search finds its task. When the last claim expires, the sweep fails the task.
-- part: claim
UPDATE claims_tasks
SET state = {task.claimed}, token = max(token, ?2) + 1, attempts = attempts + 1, losses = losses + (state = {task.claimed}),
    available_at = iif(state = {task.claimed}, lease_expires, available_at),
    next_at = iif(losses + (state = {task.claimed}) + 1 >= max_lost OR ?3 IS NULL, {never}, ?3), lease_expires = ?3,
    lane = iif(state = {task.claimed}, lane, {to_claimed_side}),
    worker = ?4, failed_worker = iif(state = {task.claimed}, NULL, failed_worker), session = ?5, started_wall = ?6,
    expires_wall = ?7

-- name: claim_one
{claim} WHERE id = ?1;

-- name: claim_many
{claim} WHERE id IN (SELECT value FROM carray(?1));

-- Release a task: set it back to its position, or to the position ?2, and subtract one from the task's attempts.
-- name: release
UPDATE claims_tasks
SET state = {task.waiting}, next_at = coalesce(?2, available_at), available_at = coalesce(?2, available_at),
    attempts = attempts - 1, started_wall = iif(attempts = 1, NULL, started_wall), worker = NULL, {end_claim}
WHERE id = ?1;

-- Set a new expiry. A last claim keeps the next_at "never", so that no search finds its task.
-- name: set_expiry
UPDATE claims_tasks
SET lease_expires = ?2, expires_wall = ?3, next_at = iif(losses + 1 >= max_lost OR ?2 IS NULL, {never}, ?2)
WHERE id = ?1;

-- The tasks whose row ids are in the claims. The caller compares the names and tokens with those of the claims.
-- name: claims_by_row
SELECT {held_columns}
FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value CROSS JOIN claims_instances i ON i.id = t.instance;

-- The task whose row id is in the claim. The caller compares the names and the token with those of the claim.
-- name: claim_by_row
SELECT {held_columns}
FROM claims_tasks t CROSS JOIN claims_instances i ON i.id = t.instance
WHERE t.id = ?1;

-- The task of a claim, by the names of its instance and task.
-- name: claim_by_name
SELECT {held_columns}
FROM claims_instances i CROSS JOIN claims_tasks t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

-- Claiming, giving back, prolonging.

-- Whether anybody looks into it stands last: not while the one instance that it belongs to doesn't run.
-- name: lanes
SELECT id, kind, tags, instance, (SELECT i.state FROM claims_instance i WHERE i.id = claims_lane.instance)
FROM claims_lane WHERE id > ?;

-- The lanes, and sides of them, in which anything is in the order: from one to the next, by a seek each.
-- name: lanes_with_rows
WITH RECURSIVE used (lane) AS (
    SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > ?1
    UNION ALL
    SELECT (
        SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > used.lane
    )
    FROM used WHERE used.lane IS NOT NULL
)
SELECT lane FROM used WHERE lane IS NOT NULL LIMIT ?2;

-- name: add_lane
INSERT INTO claims_lane (instance, kind, tags) VALUES (?, ?, ?) RETURNING id;

-- name: drop_lanes
DELETE FROM claims_lane WHERE id IN (SELECT value FROM carray(?1));

-- name: drop_own_lanes
DELETE FROM claims_lane WHERE instance = ?;

-- One task by name, as claiming and the operations by worker's name need it.
-- name: task_by_name
SELECT t.id, t.instance, i.state, t.state, t.next_at, t.available_at, t.lease_expires, t.token, t.attempts, t.losses,
    t.max_lost, t.worker, t.session, t.due_wall, t.started_wall, t.expires_wall, t.lane
FROM claims_instance i CROSS JOIN claims_task t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

-- What a worker gets to see of the tasks found, in the order of the ids.
-- name: tasks_found
SELECT t.id, i.name, t.name, coalesce(n.data, o.data), i.definition_hash, t.lane, t.priority, t.attempts,
    iif(t.state = 1, t.failed_worker, NULL), t.token
FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value CROSS JOIN claims_instance i ON i.id = t.instance
    LEFT JOIN claims_input n ON n.task = t.id LEFT JOIN claims_output o ON o.task = t.input_from;

-- name: task_found
SELECT t.id, i.name, t.name, coalesce(n.data, o.data), i.definition_hash, t.lane, t.priority, t.attempts,
    iif(t.state = 1, t.failed_worker, NULL), t.token
FROM claims_task t CROSS JOIN claims_instance i ON i.id = t.instance
    LEFT JOIN claims_input n ON n.task = t.id LEFT JOIN claims_output o ON o.task = t.input_from
WHERE t.id = ?1;

-- Whatever may be claimed: ready, or claimed with an expired lease, whose loss is counted here. (On the right of each
-- = stands the value before.) A claim that may not be lost once more never comes up in the index: somebody settles it.
-- When the next task of these lanes comes up by time alone: it is due, or its claim expires.
-- name: next_up
SELECT min((
    SELECT t.next_at FROM claims_task t INDEXED BY claims_task_next
    WHERE t.lane = l.value AND t.priority = p.column1 AND t.next_at > ?2 ORDER BY t.next_at LIMIT 1
))
FROM carray(?1) l CROSS JOIN (VALUES (1), (2), (3), (4), (5)) p;

-- name: next_due
SELECT min((
    SELECT t.due_wall FROM claims_task t INDEXED BY claims_task_due
    WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.priority = p.column1
    ORDER BY t.due_wall LIMIT 1
))
FROM (VALUES (1), (2), (3), (4), (5)) p;

-- name: claim_one
UPDATE claims_task
SET state = 2, token = max(token, ?2) + 1, attempts = attempts + 1, losses = losses + (state = 2),
    available_at = iif(state = 2, lease_expires, available_at),
    next_at = iif(losses + (state = 2) + 1 >= max_lost OR ?3 IS NULL, 4611686018427387904, ?3), lease_expires = ?3,
    lane = iif(state = 2, lane, iif(lane > 0, lane + 4294967296, lane - 4294967296)),
    worker = ?4, failed_worker = iif(state = 2, NULL, failed_worker), session = ?5, started_wall = ?6, expires_wall = ?7
WHERE id = ?1;

-- name: claim_many
UPDATE claims_task
SET state = 2, token = max(token, ?2) + 1, attempts = attempts + 1, losses = losses + (state = 2),
    available_at = iif(state = 2, lease_expires, available_at),
    next_at = iif(losses + (state = 2) + 1 >= max_lost OR ?3 IS NULL, 4611686018427387904, ?3), lease_expires = ?3,
    lane = iif(state = 2, lane, iif(lane > 0, lane + 4294967296, lane - 4294967296)),
    worker = ?4, failed_worker = iif(state = 2, NULL, failed_worker), session = ?5, started_wall = ?6, expires_wall = ?7
WHERE id IN (SELECT value FROM carray(?1));

-- Back to its place, the attempt taken back.
-- name: release
UPDATE claims_task
SET state = 1, next_at = coalesce(?2, available_at), available_at = coalesce(?2, available_at),
    attempts = attempts - 1, started_wall = iif(attempts = 1, NULL, started_wall),
    worker = NULL, session = NULL, lease_expires = NULL, expires_wall = NULL,
    lane = iif(lane > 0, lane - 4294967296, lane + 4294967296)
WHERE id = ?1;

-- A new expiry. A last claim still never comes up.
-- name: set_expiry
UPDATE claims_task
SET lease_expires = ?2, expires_wall = ?3, next_at = iif(losses + 1 >= max_lost OR ?2 IS NULL, 4611686018427387904, ?2)
WHERE id = ?1;

-- Claims by the hint of their rows; the caller checks names and token.
-- name: claims_by_row
SELECT t.id, i.name, t.name, t.token, t.state, i.state, t.instance, t.failures, t.max_attempts, t.policy, t.losses,
    t.worker, t.started_wall, EXISTS (SELECT 1 FROM claims_dependency d WHERE d.depends_on = t.id)
FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value CROSS JOIN claims_instance i ON i.id = t.instance;

-- name: claim_by_row
SELECT t.id, i.name, t.name, t.token, t.state, i.state, t.instance, t.failures, t.max_attempts, t.policy, t.losses,
    t.worker, t.started_wall, EXISTS (SELECT 1 FROM claims_dependency d WHERE d.depends_on = t.id)
FROM claims_task t CROSS JOIN claims_instance i ON i.id = t.instance
WHERE t.id = ?1;

-- name: claim_by_name
SELECT t.id, i.name, t.name, t.token, t.state, i.state, t.instance, t.failures, t.max_attempts, t.policy, t.losses,
    t.worker, t.started_wall, EXISTS (SELECT 1 FROM claims_dependency d WHERE d.depends_on = t.id)
FROM claims_instance i CROSS JOIN claims_task t ON t.instance = i.id AND t.name = ?2
WHERE i.name = ?1;

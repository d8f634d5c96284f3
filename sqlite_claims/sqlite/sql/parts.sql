-- Pieces of text that several statements share. {name} in a statement stands for the part of that name, or for a number
-- of codes.py.

-- A claimed task's lane: from the free side to the claimed one, and back.
-- part: to_claimed_side
iif(lane > 0, lane + {claimed_side}, lane - {claimed_side})

-- part: from_claimed_side
iif(lane > 0, lane - {claimed_side}, lane + {claimed_side})

-- Assignments: the task has no claim any more.
-- part: end_claim
session = NULL, lease_expires = NULL, expires_wall = NULL, lane = {from_claimed_side}

-- Assignments: the task is waiting again, and its position is ?2.
-- part: waiting_from_2
state = {task.waiting}, next_at = ?2, available_at = ?2

-- Assignment: an instance that had ended is in progress again, a paused one stays paused.
-- part: reopened
state = iif(state = {instance.paused}, {instance.paused}, {instance.in_progress})

-- The ids of the tasks on the claimed sides of all lanes, the paused sides included.
-- part: held
SELECT id FROM claims_task WHERE lane >= {claimed_side} AND next_at IS NOT NULL
UNION ALL SELECT id FROM claims_task WHERE lane <= -{claimed_side} AND next_at IS NOT NULL

-- A table of the five priorities, for the indices that have the priority as a column.
-- part: priorities
(VALUES (1), (2), (3), (4), (5)) p

-- The lowest lane that has tasks in the index and is above the expression that follows: one seek.
-- part: lane_above
SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane >

-- The rest of a recursive table `used` that begins with one lane: all lanes above it.
-- part: and_lanes_above
UNION ALL SELECT ({lane_above} used.lane) FROM used WHERE used.lane IS NOT NULL

-- The table `lane`: all lanes, and sides of lanes, that have tasks in the index.
-- part: with_used_lanes
WITH RECURSIVE used (lane) AS ({lane_above} -{never} {and_lanes_above}),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL)

-- The tasks that wait for a time of day and are not in the order of claims yet.
-- part: waits_for_day
t.state = {task.waiting} AND t.next_at IS NULL AND t.due_wall IS NOT NULL

-- Columns, and the joins that they need.

-- part: found_columns
t.id, i.name AS instance_id, t.name AS task_id, coalesce(n.data, o.data) AS input, i.definition_hash, t.lane, t.priority,
    t.attempts, iif(t.state = {task.waiting}, t.failed_worker, NULL) AS failed_worker, t.token

-- part: input_joins
LEFT JOIN claims_input n ON n.task = t.id LEFT JOIN claims_output o ON o.task = t.input_from

-- part: held_columns
t.id, i.name AS instance_id, t.name AS task_id, t.token, t.state, i.state AS instance_state, t.instance, t.failures,
    t.max_attempts, t.policy, t.losses, t.worker, t.started_wall,
    EXISTS (SELECT 1 FROM claims_dependency d WHERE d.depends_on = t.id) AS has_dependents

-- part: task_columns
t.id, i.name AS instance_id, t.name AS task_id, coalesce(n.data, o.data) AS input, i.definition_hash, t.lane, t.priority,
    t.delay, t.due_wall, t.max_attempts, t.max_lost, t.policy, t.state, i.state AS instance_state,
    t.available_at AS position, t.next_at, t.attempts, t.failures, t.losses, r.data AS output, e.message AS error, t.worker,
    t.token, t.lease_expires, t.started_wall, t.expires_wall, t.added_wall, t.finished_wall,
    i.finished_wall AS instance_finished_wall

-- part: result_joins
LEFT JOIN claims_output r ON r.task = t.id LEFT JOIN claims_error e ON e.task = t.id

-- part: instance_columns
id, name, state, definition_hash, reason, total, blocked, completed, failed, cancelled, added_wall, finished_wall

-- part: listed_columns
t.instance, t.state, t.lane, t.next_at, t.due_wall

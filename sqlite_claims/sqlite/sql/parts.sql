-- Pieces of SQL text that several statements share. In a statement, {name} is replaced by the part with this name, or
-- by a number from codes.py.

-- The lane of a task when it is claimed (to_claimed_side), and when its claim ends (from_claimed_side).
-- part: to_claimed_side
iif(lane > 0, lane + {claimed_side}, lane - {claimed_side})

-- part: from_claimed_side
iif(lane > 0, lane - {claimed_side}, lane + {claimed_side})

-- Assignments that end the task's claim.
-- part: end_claim
session = NULL, lease_expires = NULL, expires_wall = NULL, lane = {from_claimed_side}

-- Assignments that set the task to waiting, with the position ?2.
-- part: waiting_from_2
state = {task.waiting}, next_at = ?2, available_at = ?2

-- Assignment to the state column: an instance that has ended is in progress again. A paused instance stays paused.
-- part: reopened
state = iif(state = {instance.paused}, {instance.paused}, {instance.in_progress})

-- The ids of the tasks on the claimed sides of all lanes, including claimed tasks on the paused sides.
-- part: held
SELECT id FROM claims_tasks WHERE lane >= {claimed_side} AND next_at IS NOT NULL
UNION ALL SELECT id FROM claims_tasks WHERE lane <= -{claimed_side} AND next_at IS NOT NULL

-- A table of the five priorities, for the indices that have the priority as a column.
-- part: priorities
(VALUES (1), (2), (3), (4), (5)) p

-- The lowest lane that has tasks in the index and is higher than the expression that follows this part. SQLite finds
-- this lane with one seek.
-- part: lane_above
SELECT min(t.lane) FROM claims_tasks t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane >

-- The second half of a recursive table `used`, whose first half selects one lane. The second half adds all higher lanes
-- with tasks.
-- part: and_lanes_above
UNION ALL SELECT ({lane_above} used.lane) FROM used WHERE used.lane IS NOT NULL

-- The table `lane` with all lanes, and sides of lanes, that have tasks in the index.
-- part: with_used_lanes
WITH RECURSIVE used (lane) AS ({lane_above} -{never} {and_lanes_above}),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL)

-- Condition for tasks that wait for their available_at (due_wall) and have no position in the order of claims yet.
-- part: waits_for_day
t.state = {task.waiting} AND t.next_at IS NULL AND t.due_wall IS NOT NULL

-- Lists of columns, and the joins that these columns need.

-- part: found_columns
t.id, i.name AS instance_id, t.name AS task_id, coalesce(n.data, o.data) AS input, i.definition_hash, t.lane, t.priority,
    t.attempts, iif(t.state = {task.waiting}, t.failed_worker, NULL) AS failed_worker, t.token

-- part: input_joins
LEFT JOIN claims_inputs n ON n.task = t.id LEFT JOIN claims_outputs o ON o.task = t.input_from

-- part: held_columns
t.id, i.name AS instance_id, t.name AS task_id, t.token, t.state, i.state AS instance_state, t.instance, t.failures,
    t.max_attempts, t.policy, t.losses, t.worker, t.started_wall,
    EXISTS (SELECT 1 FROM claims_dependencies d WHERE d.depends_on = t.id) + iif(t.open_deps < 0, 2, 0) AS followers, t.lane

-- part: task_columns
t.id, i.name AS instance_id, t.name AS task_id, coalesce(n.data, o.data) AS input, i.definition_hash, t.lane, t.priority,
    t.delay, t.due_wall, t.max_attempts, t.max_lost, t.policy, t.state, i.state AS instance_state,
    t.available_at AS position, t.next_at, t.attempts, t.failures, t.losses, r.data AS output, e.message AS error, t.worker,
    t.token, t.lease_expires, t.started_wall, t.expires_wall, t.added_wall, t.finished_wall,
    i.finished_wall AS instance_finished_wall, g.done, g.total, g.note, g.reported_wall, k.data AS checkpoint

-- part: result_joins
LEFT JOIN claims_outputs r ON r.task = t.id LEFT JOIN claims_errors e ON e.task = t.id
    LEFT JOIN claims_progress g ON g.task = t.id LEFT JOIN claims_checkpoints k ON k.task = t.id

-- part: instance_columns
id, name, state, definition_hash, reason, total, blocked, completed, failed, cancelled, added_wall, finished_wall

-- part: listed_columns
t.instance, t.state, t.lane, t.next_at, t.due_wall

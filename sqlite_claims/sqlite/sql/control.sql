-- Statements that pause, resume and cancel instances. The instance's state changes at once. The rows of the instance's
-- tasks are updated later, in short steps.

-- name: instance_to_control
SELECT id, state, moving FROM claims_instances WHERE name = ?;

-- name: set_instance_state
UPDATE claims_instances SET state = ?2, moving = '' WHERE id = ?1;

-- name: cancel_instance
UPDATE claims_instances
SET state = {instance.cancelled}, moving = '', reason = ?2, finished_wall = ?3, cancelled = total - completed - failed,
    blocked = 0
WHERE id = ?1;

-- Seal an instance whose tasks had all been cancelled or had expired before.
-- name: seal_instance
UPDATE claims_instances SET state = {instance.cancelled}, reason = ?2 WHERE id = ?1;

-- A moving instance: the rows of some of its tasks are not updated yet.
-- name: instance_in_motion
SELECT id, state, moving, finished_wall FROM claims_instances INDEXED BY claims_instance_moving
WHERE moving IS NOT NULL LIMIT 1;

-- Resumed instances with tasks that are still on the paused sides of their lanes.
-- name: resumed_in_motion
SELECT id, total FROM claims_instances INDEXED BY claims_instance_moving
WHERE moving IS NOT NULL AND state = {instance.in_progress};

-- The tasks of a resumed instance that can be claimed at ?2 and are still on the paused sides of their lanes.
-- name: strays
SELECT t.id, t.priority, t.next_at, t.lane
FROM claims_instances i CROSS JOIN claims_tasks t ON t.instance = i.id AND t.name > i.moving
WHERE i.id = ?1 AND t.lane < 0 AND t.next_at <= ?2;

-- name: positions
SELECT t.id, t.priority, t.next_at FROM carray(?1) c CROSS JOIN claims_tasks t ON t.id = c.value;

-- The name of the last task of the step that begins after the name ?2. The result has no row if fewer tasks are left
-- than a full step has.
-- name: end_of_step
SELECT name FROM claims_tasks WHERE instance = ?1 AND name > ?2 ORDER BY name LIMIT 1 OFFSET ?3;

-- Move tasks of a resumed instance from the paused sides of their lanes to the normal sides.
-- name: move_in
UPDATE claims_tasks SET lane = -lane
WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND lane < 0 AND state < {task.completed};

-- Move tasks of a paused instance to the paused sides of their lanes.
-- name: move_out
UPDATE claims_tasks SET lane = -lane
WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND lane > 0 AND state < {task.completed};

-- Update the tasks of a cancelled instance: set unfinished tasks to cancelled.
-- name: move_to_cancelled
UPDATE claims_tasks
SET state = {task.cancelled}, next_at = NULL, session = NULL, lease_expires = ?5, expires_wall = NULL, finished_wall = ?4,
    lane = iif(state != {task.claimed}, lane, {from_claimed_side})
WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND state < {task.completed};

-- Record the task name up to which the task rows are updated. NULL: all rows are updated.
-- name: moved_to
UPDATE claims_instances SET moving = ?2 WHERE id = ?1;

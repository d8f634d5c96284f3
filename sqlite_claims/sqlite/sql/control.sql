-- Pausing, resuming, cancelling: the state at once, the rows in short steps.

-- name: instance_to_signal
SELECT id, state, moving, total - completed - failed FROM claims_instance WHERE name = ?;

-- name: set_instance_state
UPDATE claims_instance SET state = ?2, moving = '' WHERE id = ?1;

-- name: call_off
UPDATE claims_instance
SET state = 4, moving = '', reason = ?2, finished_wall = ?3, cancelled = total - completed - failed, blocked = 0
WHERE id = ?1;

-- name: instance_in_motion
SELECT id, state, moving, finished_wall FROM claims_instance INDEXED BY claims_instance_moving
WHERE moving IS NOT NULL LIMIT 1;

-- Resumed instances whose rows have not all come back to the side where a look for work finds them.
-- name: resumed_in_motion
SELECT id, total FROM claims_instance INDEXED BY claims_instance_moving WHERE moving IS NOT NULL AND state = 0;

-- The rows of one that have not, and may be claimed.
-- name: strays
SELECT t.id, t.priority, t.next_at, t.lane FROM claims_instance i CROSS JOIN claims_task t ON t.instance = i.id AND t.name > i.moving
WHERE i.id = ?1 AND t.lane < 0 AND t.next_at <= ?2;

-- name: places
SELECT t.id, t.priority, t.next_at, t.lane FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value;

-- name: end_of_step
SELECT name FROM claims_task WHERE instance = ?1 AND name > ?2 ORDER BY name LIMIT 1 OFFSET ?3;

-- name: move_in
UPDATE claims_task SET lane = -lane WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND lane < 0 AND state < 3;

-- name: move_out
UPDATE claims_task SET lane = -lane WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND lane > 0 AND state < 3;

-- name: move_to_cancelled
UPDATE claims_task
SET state = 5, next_at = NULL, session = NULL, lease_expires = NULL, expires_wall = NULL, finished_wall = ?4,
    lane = iif(state != 2, lane, iif(lane > 0, lane - 4294967296, lane + 4294967296))
WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND state < 3;

-- name: moved_to
UPDATE claims_instance SET moving = ?2 WHERE id = ?1;

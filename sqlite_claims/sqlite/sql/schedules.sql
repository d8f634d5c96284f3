-- Schedules, and the state from which their ticks are computed. claims_schedules has few rows.

-- name: schedule_by_name
SELECT id, name, timing, task, input, catch_up, definition_hash, next_wall, last_wall, seen_wall, paused
FROM claims_schedules WHERE name = ?;

-- name: schedules
SELECT id, name, timing, task, input, catch_up, definition_hash, next_wall, last_wall, seen_wall, paused
FROM claims_schedules ORDER BY name;

-- Schedules with a tick until ?1, and schedules for which the wall clock was set back by a day or more.
-- name: due_schedules
SELECT id, name, timing, task, input, catch_up, definition_hash, next_wall, last_wall, seen_wall, paused
FROM claims_schedules
WHERE next_wall <= ?1 OR (next_wall IS NOT NULL AND seen_wall - json_extract(timing, '$.seen') >= ?2)
LIMIT ?3;

-- name: late_schedules
SELECT name, next_wall FROM claims_schedules WHERE next_wall < ?1;

-- The largest difference between the wall clock and store time at which any schedule was looked at.
-- name: tick_offset
SELECT max(seen_wall - json_extract(timing, '$.seen')) FROM claims_schedules WHERE next_wall IS NOT NULL;

-- name: put_schedule
INSERT INTO claims_schedules (name, timing, task, input, catch_up, definition_hash, next_wall, last_wall, seen_wall, paused)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8, 0)
ON CONFLICT (name) DO UPDATE SET timing = ?2, task = ?3, input = ?4, catch_up = ?5, definition_hash = ?6, next_wall = ?7,
    seen_wall = ?8;

-- name: move_schedule
UPDATE claims_schedules SET timing = ?2, next_wall = ?3, last_wall = ?4, seen_wall = ?5, paused = 0 WHERE id = ?1;

-- name: pause_schedule
UPDATE claims_schedules SET paused = 1, next_wall = NULL WHERE id = ?;

-- name: remove_schedule
DELETE FROM claims_schedules WHERE id = ?;

-- name: set_next_tick
UPDATE claims_meta SET next_tick = (SELECT min(next_wall) FROM claims_schedules) WHERE id = 1;

-- In a copy, let the ticks of all schedules count from the wall clock ?1, which is the store time ?2.
-- name: count_ticks_from
UPDATE claims_schedules
SET timing = json_set(timing, '$.marks', json_array(?1), '$.seen', ?2), next_wall = iif(next_wall IS NULL, NULL, ?1), seen_wall = ?1;

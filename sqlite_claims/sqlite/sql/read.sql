-- Reading, for people and programs.

-- All of one task. TaskInfo's fields in this order; see reading.task_info.
-- name: task
SELECT t.id, i.name, t.name, coalesce(n.data, o.data), i.definition_hash, t.lane, t.priority, t.delay, t.due_wall,
    t.max_attempts, t.max_lost, t.policy, t.state, i.state, t.available_at, t.next_at, t.attempts, t.failures, t.losses,
    r.data, e.message, t.worker, t.token, t.lease_expires, t.started_wall, t.expires_wall, t.added_wall, t.finished_wall,
    i.finished_wall
FROM claims_instance i CROSS JOIN claims_task t ON t.instance = i.id AND t.name = ?2
    LEFT JOIN claims_input n ON n.task = t.id LEFT JOIN claims_output o ON o.task = t.input_from
    LEFT JOIN claims_output r ON r.task = t.id LEFT JOIN claims_error e ON e.task = t.id
WHERE i.name = ?1;

-- name: task_by_row
SELECT t.id, i.name, t.name, coalesce(n.data, o.data), i.definition_hash, t.lane, t.priority, t.delay, t.due_wall,
    t.max_attempts, t.max_lost, t.policy, t.state, i.state, t.available_at, t.next_at, t.attempts, t.failures, t.losses,
    r.data, e.message, t.worker, t.token, t.lease_expires, t.started_wall, t.expires_wall, t.added_wall, t.finished_wall,
    i.finished_wall
FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value CROSS JOIN claims_instance i ON i.id = t.instance
    LEFT JOIN claims_input n ON n.task = t.id LEFT JOIN claims_output o ON o.task = t.input_from
    LEFT JOIN claims_output r ON r.task = t.id LEFT JOIN claims_error e ON e.task = t.id;

-- name: dependencies
SELECT p.name, p.state FROM claims_dependency d CROSS JOIN claims_task p ON p.id = d.depends_on
WHERE d.task = ? ORDER BY p.name;

-- name: instance
SELECT id, name, state, definition_hash, reason, total, blocked, completed, failed, cancelled, added_wall, finished_wall
FROM claims_instance WHERE name = ?;

-- name: instances_page
SELECT id, name, state, definition_hash, reason, total, blocked, completed, failed, cancelled, added_wall, finished_wall
FROM claims_instance WHERE id > ? ORDER BY id LIMIT ?;

-- name: instance_claims
WITH held (id) AS (
    SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
    UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL
)
SELECT count(*) FROM held CROSS JOIN claims_task t ON t.id = held.id WHERE t.instance = ?;

-- Scheduled tasks of one instance: its own rows where they are few, else what is still to come.
-- name: scheduled_among_own
SELECT count(*) FROM claims_task INDEXED BY sqlite_autoindex_claims_task_1
WHERE instance = ?1 AND state = 1 AND (next_at > ?2 OR next_at IS NULL AND due_wall > ?3);

-- name: scheduled_of_instance
WITH RECURSIVE used (lane) AS (
    SELECT min(lane) FROM claims_task INDEXED BY claims_task_next WHERE next_at IS NOT NULL AND lane > -4611686018427387904
    UNION ALL
    SELECT (SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > used.lane)
    FROM used WHERE used.lane IS NOT NULL
),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL)
SELECT coalesce(sum((
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_next
    WHERE abs(lane.id) < 4294967296
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?2 AND t.state = 1 AND t.instance = ?1
)), 0) + (
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_due
    WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.due_wall > ?3 AND t.instance = ?1
)
FROM lane CROSS JOIN (VALUES (1), (2), (3), (4), (5)) p;

-- What is scheduled, in the index or waiting for the calendar, and the place of the longest waiting.
-- name: waiting
WITH RECURSIVE used (lane) AS (
    SELECT min(lane) FROM claims_task INDEXED BY claims_task_next WHERE next_at IS NOT NULL AND lane > -4611686018427387904
    UNION ALL
    SELECT (SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > used.lane)
    FROM used WHERE used.lane IS NOT NULL
),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL)
SELECT coalesce(sum((
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_next
    WHERE abs(lane.id) < 4294967296 AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?1
)), 0) + (
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_due
    WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.due_wall > ?2
), min((
    SELECT t.next_at FROM claims_task t INDEXED BY claims_task_next
    WHERE lane.id > 0 AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at <= ?1 ORDER BY t.next_at LIMIT 1
))
FROM lane CROSS JOIN (VALUES (1), (2), (3), (4), (5)) p;

-- The same while an instance is in motion: its rows may not follow its state yet.
-- name: waiting_in_motion
WITH RECURSIVE used (lane) AS (
    SELECT min(lane) FROM claims_task INDEXED BY claims_task_next WHERE next_at IS NOT NULL AND lane > -4611686018427387904
    UNION ALL
    SELECT (SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > used.lane)
    FROM used WHERE used.lane IS NOT NULL
),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL),
resumed (id) AS (
    SELECT id FROM claims_instance INDEXED BY claims_instance_moving WHERE moving IS NOT NULL AND state = 0
)
SELECT coalesce(sum((
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_next CROSS JOIN claims_instance i ON i.id = t.instance
    WHERE abs(lane.id) < 4294967296
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at > ?1 AND t.state = 1 AND i.state != 4
)), 0) + (
    SELECT count(*) FROM claims_task t INDEXED BY claims_task_due CROSS JOIN claims_instance i ON i.id = t.instance
    WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.due_wall > ?2 AND i.state != 4
), min((
    SELECT t.next_at FROM claims_task t INDEXED BY claims_task_next CROSS JOIN claims_instance i ON i.id = t.instance
    WHERE (lane.id > 0 OR EXISTS (SELECT 1 FROM resumed))
        AND t.lane = lane.id AND t.priority = p.column1 AND t.next_at <= ?1 AND i.state = 0
    ORDER BY t.next_at LIMIT 1
))
FROM lane CROSS JOIN (VALUES (1), (2), (3), (4), (5)) p;

-- Due by the calendar, and nobody has looked for work since.
-- name: longest_due
SELECT min((
    SELECT t.due_wall FROM claims_task t INDEXED BY claims_task_due CROSS JOIN claims_instance i ON i.id = t.instance
    WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.priority = p.column1 AND t.due_wall <= ?1
        AND i.state = 0
    ORDER BY t.due_wall LIMIT 1
))
FROM (VALUES (1), (2), (3), (4), (5)) p;

-- name: totals
SELECT coalesce(sum(total), 0), coalesce(sum(blocked), 0), coalesce(sum(completed), 0), coalesce(sum(failed), 0),
    coalesce(sum(cancelled), 0)
FROM claims_instance;

-- name: totals_of_instance
SELECT total, blocked, completed, failed, cancelled FROM claims_instance WHERE id = ?;

-- name: held
WITH held (id) AS (
    SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
    UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL
)
SELECT count(*), count(*) FILTER (WHERE t.lease_expires IS NULL OR t.lease_expires > ?1)
FROM held CROSS JOIN claims_task t ON t.id = held.id CROSS JOIN claims_instance i ON i.id = t.instance
WHERE i.state != 4;

-- name: claims
SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL;

-- name: claims_page
SELECT t.id, i.name, t.name, t.worker, t.started_wall, t.expires_wall, t.token, t.lease_expires
FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value CROSS JOIN claims_instance i ON i.id = t.instance
WHERE t.state = 2 AND i.state != 4;

-- A list's rows: id, where the page after it starts, instance, state, lane, next_at, due_wall.
-- name: task_rows_page
SELECT t.id, t.id, t.instance, t.state, t.lane, t.next_at, t.due_wall
FROM claims_task t WHERE t.id > ?1 ORDER BY t.id LIMIT ?2;

-- name: task_rows
SELECT t.id, t.id, t.instance, t.state, t.lane, t.next_at, t.due_wall
FROM carray(?1) c CROSS JOIN claims_task t ON t.id = c.value;

-- name: task_rows_of_instance_page
SELECT t.id, t.name, t.instance, t.state, t.lane, t.next_at, t.due_wall
FROM claims_task t WHERE t.instance = ?3 AND t.name > ?1 ORDER BY t.name LIMIT ?2;

-- name: scheduled_rows
WITH RECURSIVE used (lane) AS (
    SELECT min(lane) FROM claims_task INDEXED BY claims_task_next WHERE next_at IS NOT NULL AND lane > -4611686018427387904
    UNION ALL
    SELECT (SELECT min(t.lane) FROM claims_task t INDEXED BY claims_task_next WHERE t.next_at IS NOT NULL AND t.lane > used.lane)
    FROM used WHERE used.lane IS NOT NULL
),
lane (id) AS (SELECT lane FROM used WHERE lane IS NOT NULL)
SELECT t.id FROM lane CROSS JOIN (VALUES (1), (2), (3), (4), (5)) p CROSS JOIN claims_task t INDEXED BY claims_task_next
    ON t.lane = lane.id AND t.priority = p.column1
WHERE abs(lane.id) < 4294967296 AND t.next_at > ?1
UNION ALL
SELECT t.id FROM (VALUES (1), (2), (3), (4), (5)) p CROSS JOIN claims_task t INDEXED BY claims_task_due
    ON t.priority = p.column1
WHERE t.state = 1 AND t.next_at IS NULL AND t.due_wall IS NOT NULL AND t.due_wall > ?2;

-- name: rows_with_error
SELECT task FROM claims_error;

-- name: called_off_in_motion
SELECT id FROM claims_instance INDEXED BY claims_instance_moving WHERE moving IS NOT NULL AND state = ?;

-- name: workers
WITH held (id) AS (
    SELECT id FROM claims_task WHERE lane >= 4294967296 AND next_at IS NOT NULL
    UNION ALL SELECT id FROM claims_task WHERE lane <= -4294967296 AND next_at IS NOT NULL
)
SELECT s.id, s.worker, s.pid, s.started_wall, count(t.id)
FROM claims_session s LEFT JOIN (SELECT t.id, t.session FROM held CROSS JOIN claims_task t ON t.id = held.id) t ON t.session = s.id
GROUP BY s.id;

-- Statements with which check() finds values that the store never writes. A page_of_ statement returns the last key of
-- the page that begins at ?1. The check_ statement of the same name returns the faulty rows between the keys ?1 and ?2.
-- Such a row has the key, the faults (one per line), and the texts that are not printable ASCII, which Python has to
-- check. All texts are read as bytes, since they may be invalid UTF-8. Each statement reads its own table, and the
-- tables that it refers to, by key.

-- name: page_of_meta
SELECT id FROM claims_meta WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_meta
SELECT m.id, CAST(concat_ws(char(10),
    iif(octet_length(boot_id) <= 256, NULL, format('boot_id is %Q', substr(boot_id, 1, 80))),
    iif(anchor BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('anchor is %Q', anchor)),
    iif(seen BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('seen is %Q', seen)),
    iif(sleep BETWEEN -1000000 AND {store_time_max}, NULL, format('sleep is %Q', sleep)),
    iif(token_floor BETWEEN 0 AND {number_max}, NULL, format('token_floor is %Q', token_floor)),
    iif(aging_interval IS NULL OR aging_interval BETWEEN 1 AND {wall_max}, NULL, format('aging_interval is %Q', aging_interval)),
    iif(lanes BETWEEN (SELECT count(*) FROM claims_lanes) AND {number_max}, NULL,
        format('lanes is %Q, less than there are, or absurd', lanes)),
    iif(moving = (SELECT count(*) FROM claims_instances WHERE moving IS NOT NULL), NULL,
        format('moving is %Q, which is not the number of instances in motion', moving)),
    iif(due_offset BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('due_offset is %Q', due_offset)),
    iif(is_copy IN (0, 1), NULL, format('is_copy is %Q', is_copy)),
    iif(expiring = 1 OR expiring = 0 AND NOT EXISTS (SELECT 1 FROM claims_options o WHERE o.expiring IS NOT NULL), NULL,
        format('expiring is %Q', expiring)),
    iif(limited IN (0, 1), NULL, format('limited is %Q', limited)),
    iif(next_tick IS (SELECT min(next_wall) FROM claims_schedules), NULL,
        format('next_tick is %Q, which is not the next tick of any schedule', next_tick)),
    iif(completed_deleted BETWEEN 0 AND {number_max}, NULL, format('completed_deleted is %Q', completed_deleted))
) AS BLOB) AS found,
    CAST(boot_id AS BLOB) AS "boot_id: text"
FROM claims_meta m WHERE id BETWEEN ?1 AND ?2
UNION ALL SELECT 1, CAST('there is none such' AS BLOB), NULL WHERE NOT EXISTS (SELECT 1 FROM claims_meta);

-- name: page_of_session
SELECT id FROM claims_sessions WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_session
SELECT * FROM (SELECT id, CAST(concat_ws(char(10),
    iif(id BETWEEN 1 AND {number_max}, NULL, 'id is out of bounds'),
    iif(octet_length(worker) BETWEEN 1 AND 256, NULL, format('worker is %Q', substr(worker, 1, 80))),
    iif(pid BETWEEN 1 AND {int_max}, NULL, format('pid is %Q', pid)),
    iif(started_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('started_wall is %Q', started_wall))
) AS BLOB) AS found,
    iif(length(worker) = octet_length(worker) AND worker NOT GLOB '*[^ -~]*', NULL, CAST(worker AS BLOB)) AS "worker: name"
FROM claims_sessions WHERE id BETWEEN ?1 AND ?2) WHERE found != x'' OR "worker: name" IS NOT NULL;

-- name: page_of_schedule
SELECT id FROM claims_schedules WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_schedule
SELECT * FROM (SELECT id, CAST(concat_ws(char(10),
    iif(id BETWEEN 1 AND {number_max}, NULL, 'id is out of bounds'),
    iif(octet_length(name) BETWEEN 1 AND 228, NULL, format('name is %Q', substr(name, 1, 80))),
    iif(CASE WHEN json_valid(timing) THEN json_type(timing, '$.seen') = 'integer' AND json_type(timing, '$.marks[0]') = 'integer'
        AND (json_type(timing, '$.every') IN ('integer', 'real')
            OR (json_type(timing, '$.cron') = 'text' AND json_type(timing, '$.timezone') = 'text')) END,
        NULL, format('timing is %Q', substr(timing, 1, 80))),
    iif(CASE WHEN json_valid(task) THEN json_type(task, '$.task_id') = 'text' END, NULL, format('task is %Q', substr(task, 1, 80))),
    iif(catch_up BETWEEN 0 AND 2, NULL, format('catch_up is %Q', catch_up)),
    iif(octet_length(definition_hash) <= 256, NULL, format('definition_hash is %Q', substr(definition_hash, 1, 80))),
    iif(next_wall IS NULL OR next_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('next_wall is %Q', next_wall)),
    iif(last_wall IS NULL OR last_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('last_wall is %Q', last_wall)),
    iif(seen_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('seen_wall is %Q', seen_wall)),
    iif(paused = (next_wall IS NULL), NULL, format('paused is %Q, and next_wall %Q', paused, next_wall))
) AS BLOB) AS found,
    iif(length(name) = octet_length(name) AND name NOT GLOB '*[^ -~]*', NULL, CAST(name AS BLOB)) AS "name: name"
FROM claims_schedules WHERE id BETWEEN ?1 AND ?2) WHERE found != x'' OR "name: name" IS NOT NULL;

-- name: page_of_lane
SELECT id FROM claims_lanes WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- All lanes are returned, also lanes without faults, because there are few lanes.
-- name: check_lane
SELECT id, CAST(concat_ws(char(10),
    iif(id BETWEEN 1 AND {lane_max}, NULL, 'id is out of bounds'),
    iif(octet_length(kind) <= 256, NULL, format('kind is %Q', substr(kind, 1, 80))),
    iif(traits BETWEEN 0 AND {traits_max}, NULL, format('traits is %Q', traits)),
    iif(instance = 0 OR EXISTS (SELECT 1 FROM claims_instances i WHERE i.id = instance)
        OR EXISTS (SELECT 1 FROM claims_pruned p WHERE p.instance = l.instance), NULL,
        format('instance is %Q: there is none such', instance))
) AS BLOB) AS found,
    CAST(kind AS BLOB) AS "kind: kind", CAST(tags AS BLOB) AS "tags: tags"
FROM claims_lanes l WHERE id BETWEEN ?1 AND ?2;

-- name: page_of_policy
SELECT id FROM claims_policies WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- The bounds are the same as in RetryPolicy.
-- name: check_policy
SELECT * FROM (SELECT id, CAST(concat_ws(char(10),
    iif(initial_delay BETWEEN 0 AND {delay_s_max}, NULL, format('initial_delay is %Q', initial_delay)),
    iif(multiplier BETWEEN 0 AND 1e9, NULL, format('multiplier is %Q', multiplier)),
    iif(max_delay BETWEEN 0 AND {delay_s_max}, NULL, format('max_delay is %Q', max_delay)),
    iif(jitter BETWEEN 0 AND 1, NULL, format('jitter is %Q', jitter))
) AS BLOB) AS found
FROM claims_policies WHERE id BETWEEN ?1 AND ?2) WHERE found != x'';

-- name: page_of_pruned
SELECT instance FROM claims_pruned WHERE instance >= ?1 ORDER BY instance LIMIT 1 OFFSET ?2;

-- name: check_pruned
SELECT * FROM (SELECT instance, CAST(concat_ws(char(10),
    iif(instance BETWEEN 1 AND {number_max}, NULL, 'instance is out of bounds'),
    iif(EXISTS (SELECT 1 FROM claims_instances i WHERE i.id = p.instance), 'the instance was not pruned', NULL)
) AS BLOB) AS found
FROM claims_pruned p WHERE instance BETWEEN ?1 AND ?2) WHERE found != x'';

-- name: page_of_instance
SELECT id FROM claims_instances WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- An instance has ended when none of its tasks is open. An instance without tasks is in progress.
-- name: check_instance
SELECT * FROM (SELECT id, CAST(concat_ws(char(10),
    iif(id BETWEEN 1 AND {number_max}, NULL, 'id is out of bounds'),
    iif(octet_length(name) BETWEEN 1 AND 256, NULL, format('name is %Q', substr(name, 1, 80))),
    iif(state BETWEEN {instance.in_progress} AND {instance.all_cancelled}, NULL, format('state is %Q', state)),
    iif(moving IS NULL OR octet_length(moving) <= 260, NULL, format('moving is %Q', substr(moving, 1, 80))),
    iif(octet_length(definition_hash) <= 256, NULL, format('definition_hash is %Q', substr(definition_hash, 1, 80))),
    iif(reason IS NULL OR state = {instance.cancelled}, NULL, format('reason is %Q, but the instance is not cancelled', substr(reason, 1, 80))),
    iif(min(total, blocked, completed, failed, cancelled) >= 0 AND max(total, blocked, completed, failed, cancelled) <= {number_max}
        AND blocked + completed + failed + cancelled <= total, NULL,
        format('its counters are absurd: total is %Q, blocked %Q, completed %Q, failed %Q, cancelled %Q', total, blocked, completed, failed, cancelled)),
    iif((state IN ({instance.completed}, {instance.failed}, {instance.all_cancelled})) = (state != {instance.cancelled} AND total > 0 AND completed + failed + cancelled = total), NULL,
        format('state is %Q, which does not fit its counters', state)),
    iif(CASE state WHEN {instance.completed} THEN failed = 0 AND completed > 0 WHEN {instance.failed} THEN failed > 0
            WHEN {instance.all_cancelled} THEN failed = 0 AND completed = 0 ELSE TRUE END, NULL, format('state is %Q, which does not fit its counters', state)),
    iif(state != {instance.cancelled} OR completed + failed + cancelled = total, NULL, 'state is 4, which does not fit its counters'),
    iif(added_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('added_wall is %Q', added_wall)),
    iif((finished_wall IS NOT NULL) = (state >= {instance.completed}) AND coalesce(finished_wall BETWEEN {wall_min} AND {wall_max}, TRUE), NULL,
        format('finished_wall is %Q', finished_wall))
) AS BLOB) AS found,
    iif(length(name) = octet_length(name) AND name NOT GLOB '*[^ -~]*', NULL, CAST(name AS BLOB)) AS "name: name",
    iif(length(definition_hash) = octet_length(definition_hash) AND definition_hash NOT GLOB '*[^ -~]*', NULL, CAST(definition_hash AS BLOB)) AS "definition_hash: name",
    CAST(moving AS BLOB) AS "moving: moving",
    CAST(reason AS BLOB) AS "reason: text"
FROM claims_instances WHERE id BETWEEN ?1 AND ?2)
WHERE found != x'' OR "name: name" IS NOT NULL OR "definition_hash: name" IS NOT NULL OR "moving: moving" IS NOT NULL OR "reason: text" IS NOT NULL;

-- Instances whose counters do not match their tasks. A moving instance is left out, because the rows of its tasks are
-- not all updated yet.
-- name: check_counters
SELECT i.id, CAST(format('its counters (total is %Q, blocked %Q, completed %Q, failed %Q, cancelled %Q) do not match its tasks', i.total, i.blocked, i.completed, i.failed, i.cancelled) AS BLOB) AS found
FROM claims_instances i
WHERE i.id BETWEEN ?1 AND ?2 AND i.moving IS NULL AND (i.total, i.blocked, i.completed, i.failed, i.cancelled) IS NOT (
    SELECT count(*), count(*) FILTER (WHERE t.state = {task.blocked}), count(*) FILTER (WHERE t.state = {task.completed}),
        count(*) FILTER (WHERE t.state = {task.failed}), count(*) FILTER (WHERE t.state = {task.cancelled})
    FROM claims_tasks t WHERE t.instance = i.id);

-- name: page_of_task
SELECT id FROM claims_tasks WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_task
SELECT * FROM (SELECT t.id, CAST(concat_ws(char(10),
    iif(t.id BETWEEN 1 AND {number_max}, NULL, 'id is out of bounds'),
    iif(i.id IS NOT NULL OR EXISTS (SELECT 1 FROM claims_pruned p WHERE p.instance = t.instance), NULL,
        format('instance is %Q: the task belongs to no instance', t.instance)),
    iif(octet_length(t.name) BETWEEN 1 AND 256, NULL, format('name is %Q', substr(t.name, 1, 80))),
    iif(l.id IS NOT NULL AND (t.lane BETWEEN -{claimed_lane_max} AND {claimed_lane_max}), NULL, format('lane is %Q: there is none such', t.lane)),
    iif((t.state = {task.claimed}) = (t.lane NOT BETWEEN -{lane_max} AND {lane_max}), NULL,
        format('lane is %Q: its place in the index does not fit its state', t.lane)),
    iif(coalesce(l.instance IN (0, t.instance), TRUE), NULL, format('lane is %Q, which is another instance''s own', t.lane)),
    iif(i.id IS NULL OR i.moving IS NOT NULL OR t.state >= {task.completed} OR (t.lane < 0) = (i.state = {instance.paused}), NULL,
        format('lane is %Q: its lane does not fit the state of its instance', t.lane)),
    iif(t.priority BETWEEN 1 AND 5, NULL, format('priority is %Q', t.priority)),
    iif(t.state BETWEEN {task.blocked} AND {task.cancelled}, NULL, format('state is %Q', t.state)),
    iif(t.available_at BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('available_at is %Q', t.available_at)),
    iif(t.next_at IS CASE t.state
            WHEN {task.waiting} THEN iif(t.next_at IS NULL AND t.due_wall IS NOT NULL, NULL, t.available_at)
            WHEN {task.claimed} THEN iif(t.lease_expires IS NULL OR t.losses + 1 >= t.max_lost, {never}, t.lease_expires)
        END, NULL, format('next_at is %Q: its place in the index does not fit its state', t.next_at)),
    iif(t.token BETWEEN (t.attempts > 0) AND {number_max}, NULL, format('token is %Q', t.token)),
    iif(t.failures BETWEEN 0 AND t.max_attempts, NULL, format('failures is %Q', t.failures)),
    iif(t.losses BETWEEN 0 AND t.max_lost, NULL, format('losses is %Q', t.losses)),
    iif(t.attempts BETWEEN t.failures + t.losses + (t.state IN ({task.claimed}, {task.completed})) AND iif(t.state = {task.blocked}, 0, {number_max}), NULL,
        format('attempts is %Q', t.attempts)),
    iif(t.max_attempts BETWEEN 1 AND {int_max}, NULL, format('max_attempts is %Q', t.max_attempts)),
    iif(t.max_lost BETWEEN 1 AND {int_max}, NULL, format('max_lost is %Q', t.max_lost)),
    iif(EXISTS (SELECT 1 FROM claims_policies p WHERE p.id = t.policy), NULL, format('policy is %Q: there is none such', t.policy)),
    iif(i.id IS NULL OR max(t.open_deps, 0) = (
        SELECT count(*) FROM claims_dependencies d CROSS JOIN claims_tasks p ON p.id = d.depends_on WHERE d.task = t.id AND p.state != {task.completed}),
        NULL, format('open_deps is %Q: its count of open dependencies is wrong', t.open_deps)),
    iif(CASE t.state WHEN {task.blocked} THEN t.open_deps > 0 WHEN {task.cancelled} THEN TRUE ELSE t.open_deps IN (0, -1) END, NULL,
        format('open_deps is %Q, which does not fit its state', t.open_deps)),
    iif(coalesce(octet_length(t.worker) BETWEEN 1 AND 256, t.state != {task.claimed}), NULL, format('worker is %Q', substr(t.worker, 1, 80))),
    iif(t.session IS NULL OR t.state = {task.claimed} AND EXISTS (SELECT 1 FROM claims_sessions s WHERE s.id = t.session), NULL,
        format('session is %Q: there is none such, or no claim', t.session)),
    iif(t.lease_expires IS NULL OR t.state >= {task.claimed} AND t.lease_expires BETWEEN -{store_time_max} AND {store_time_max}, NULL,
        format('lease_expires is %Q', t.lease_expires)),
    iif((t.started_wall IS NULL) = (t.attempts = 0) AND coalesce(t.started_wall BETWEEN {wall_min} AND {wall_max}, TRUE), NULL,
        format('started_wall is %Q', t.started_wall)),
    iif((t.expires_wall IS NULL) = (t.lease_expires IS NULL OR t.state > {task.claimed})
        AND coalesce(t.expires_wall BETWEEN {wall_min} AND {wall_max}, TRUE), NULL, format('expires_wall is %Q', t.expires_wall)),
    iif(coalesce(octet_length(t.failed_worker) BETWEEN 1 AND 256, TRUE), NULL, format('failed_worker is %Q', substr(t.failed_worker, 1, 80))),
    iif(t.added_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('added_wall is %Q', t.added_wall)),
    iif((t.finished_wall IS NULL) = (t.state < {task.completed})
        AND coalesce(t.finished_wall BETWEEN {wall_min} AND {wall_max}, TRUE), NULL, format('finished_wall is %Q', t.finished_wall)),
    iif(t.delay IS NULL OR t.due_wall IS NULL AND t.delay BETWEEN 0 AND {wall_max}, NULL, format('delay is %Q', t.delay)),
    iif(t.due_wall IS NULL OR t.due_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('due_wall is %Q', t.due_wall)),
    iif(t.input_from IS NULL OR EXISTS (SELECT 1 FROM claims_dependencies d WHERE d.task = t.id AND d.depends_on = t.input_from), NULL,
        format('input_from is %Q, on which it does not depend', t.input_from)),
    iif(l.id IS NULL OR l.traits & {has_options} = EXISTS (SELECT 1 FROM claims_options o WHERE o.task = t.id), NULL,
        format('lane is %Q: its lane does not fit its row in claims_options', t.lane)),
    iif(t.state = {task.failed} AND NOT EXISTS (SELECT 1 FROM claims_errors e WHERE e.task = t.id), 'state is 4 (failed), but it has no error', NULL)
) AS BLOB) AS found,
    iif(length(t.name) = octet_length(t.name) AND t.name NOT GLOB '*[^ -~]*', NULL, CAST(t.name AS BLOB)) AS "name: name",
    iif(t.worker IS NULL OR length(t.worker) = octet_length(t.worker) AND t.worker NOT GLOB '*[^ -~]*', NULL, CAST(t.worker AS BLOB)) AS "worker: name",
    iif(t.failed_worker IS NULL OR length(t.failed_worker) = octet_length(t.failed_worker) AND t.failed_worker NOT GLOB '*[^ -~]*', NULL,
        CAST(t.failed_worker AS BLOB)) AS "failed_worker: name"
FROM claims_tasks t LEFT JOIN claims_instances i ON i.id = t.instance
    LEFT JOIN claims_queues q ON q.id = iif(t.lane BETWEEN -{claimed_lane_max} AND {claimed_lane_max}, abs(t.lane) & {lane_max}, -1)
    LEFT JOIN claims_lanes l
        ON l.id = iif(t.lane BETWEEN -{claimed_lane_max} AND {claimed_lane_max}, coalesce(q.lane, abs(t.lane) & {lane_max}), -1)
WHERE t.id BETWEEN ?1 AND ?2)
WHERE found != x'' OR "name: name" IS NOT NULL OR "worker: name" IS NOT NULL OR "failed_worker: name" IS NOT NULL;

-- name: page_of_input
SELECT task FROM claims_inputs WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- name: check_input
SELECT task, CAST('belongs to no task' AS BLOB) AS found
FROM claims_inputs n WHERE task BETWEEN ?1 AND ?2 AND NOT EXISTS (SELECT 1 FROM claims_tasks t WHERE t.id = n.task);

-- name: page_of_output
SELECT task FROM claims_outputs WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- name: check_output
SELECT task, CAST(iif(t.id IS NULL, 'belongs to no task', 'its task is not completed, or it is empty') AS BLOB) AS found
FROM claims_outputs o LEFT JOIN claims_tasks t ON t.id = o.task
WHERE task BETWEEN ?1 AND ?2 AND (t.id IS NULL OR t.state != {task.completed} OR octet_length(o.data) = 0);

-- name: page_of_error
SELECT task FROM claims_errors WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- name: check_error
SELECT task, CAST(CASE WHEN t.id IS NULL THEN 'belongs to no task'
    WHEN t.state = {task.completed} OR t.state != {task.cancelled} AND t.failures = 0 AND t.losses = 0 THEN 'its task has not failed'
    ELSE '' END AS BLOB) AS found,
    CAST(e.message AS BLOB) AS "message: text"
FROM claims_errors e LEFT JOIN claims_tasks t ON t.id = e.task WHERE task BETWEEN ?1 AND ?2;

-- name: page_of_attempt
SELECT id FROM claims_attempts WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_attempt
SELECT a.id, CAST(concat_ws(char(10),
    iif(t.id IS NULL, 'belongs to no task', NULL),
    iif(a.attempt BETWEEN 1 AND {number_max}, NULL, format('attempt is %Q', a.attempt)),
    iif(octet_length(a.worker) BETWEEN 1 AND 256, NULL, format('worker is %Q', substr(a.worker, 1, 80))),
    iif(a.started_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('started_wall is %Q', a.started_wall)),
    iif(a.ended_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('ended_wall is %Q', a.ended_wall)),
    iif(a.outcome BETWEEN {attempt.failed} AND {attempt.timed_out}, NULL, format('outcome is %Q', a.outcome)),
    iif(octet_length(a.detail) <= 65536, NULL, 'detail is longer than 64 KiB')
) AS BLOB) AS found,
    CAST(a.worker AS BLOB) AS "worker: name", CAST(a.error AS BLOB) AS "error: text"
FROM claims_attempts a LEFT JOIN claims_tasks t ON t.id = a.task WHERE a.id BETWEEN ?1 AND ?2;

-- name: page_of_progress
SELECT task FROM claims_progress WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- name: check_progress
SELECT * FROM (SELECT g.task, CAST(concat_ws(char(10),
    iif(t.id IS NULL, 'belongs to no task', NULL),
    iif(coalesce(g.done BETWEEN 0 AND 1.8e308, TRUE), NULL, format('done is %Q', g.done)),
    iif(coalesce(g.total BETWEEN 0 AND 1.8e308, TRUE), NULL, format('total is %Q', g.total)),
    iif(coalesce(octet_length(g.note) <= 1024, TRUE), NULL, 'note is longer than 1 KiB'),
    iif(g.reported_wall BETWEEN {wall_min} AND {wall_max}, NULL, format('reported_wall is %Q', g.reported_wall))
) AS BLOB) AS found,
    CAST(g.note AS BLOB) AS "note: text"
FROM claims_progress g LEFT JOIN claims_tasks t ON t.id = g.task WHERE g.task BETWEEN ?1 AND ?2)
WHERE found != x'' OR "note: text" IS NOT NULL;

-- name: page_of_checkpoint
SELECT task FROM claims_checkpoints WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- name: check_checkpoint
SELECT k.task, CAST(CASE WHEN t.id IS NULL THEN 'belongs to no task'
    WHEN t.state = {task.completed} OR t.open_deps != -1 THEN 'its task has no checkpoint'
    ELSE 'is longer than 1 MiB' END AS BLOB) AS found
FROM claims_checkpoints k LEFT JOIN claims_tasks t ON t.id = k.task
WHERE k.task BETWEEN ?1 AND ?2
    AND (t.id IS NULL OR t.state = {task.completed} OR t.open_deps != -1 OR octet_length(k.data) > 1048576);

-- name: page_of_limit
SELECT id FROM claims_limits WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_limit
SELECT l.id, CAST(concat_ws(char(10),
    iif(octet_length(l.name) BETWEEN 1 AND 256 AND instr(l.name, ':') = 0, NULL, format('name is %Q', substr(l.name, 1, 80))),
    iif(coalesce(l.concurrency, l.rate) IS NOT NULL, NULL, 'there is no bound'),
    iif(coalesce(l.concurrency BETWEEN 1 AND {limit_number_max}, TRUE), NULL, format('concurrency is %Q', l.concurrency)),
    iif(coalesce(l.rate BETWEEN 1 AND {limit_number_max}, TRUE), NULL, format('rate is %Q', l.rate)),
    iif((l.rate IS NULL) = (l.period IS NULL) AND coalesce(l.period BETWEEN 1 AND {period_max}, TRUE), NULL, format('period is %Q', l.period))
) AS BLOB) AS found,
    CAST(l.name AS BLOB) AS "name: name"
FROM claims_limits l WHERE l.id BETWEEN ?1 AND ?2;

-- name: page_of_partition
SELECT id FROM claims_partitions WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- A partition that is not full has a head for each first task. This statement can't know the time. So the statement
-- compares only partitions that are not full whichever claims have expired.
-- name: check_partition
SELECT p.id, CAST(concat_ws(char(10),
    iif(p.id BETWEEN 1 AND {number_max}, NULL, 'id is out of bounds'),
    iif(octet_length(p.name) BETWEEN 1 AND 256 AND instr(p.name, ':') != 1, NULL, format('name is %Q', substr(p.name, 1, 80))),
    iif(p.check_at IS NULL OR p.check_at BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('check_at is %Q', p.check_at)),
    iif((SELECT limited FROM claims_meta WHERE id = 1) = 1, NULL, 'limited in claims_meta is 0'),
    iif(p.check_at IS NULL AND l.rate IS NULL
        AND (l.concurrency IS NULL OR l.concurrency > (
            SELECT count(*) FROM claims_queues q CROSS JOIN claims_tasks t INDEXED BY claims_task_next
                ON t.lane IN (q.id + {claimed_side}, -(q.id + {claimed_side})) AND t.next_at IS NOT NULL
            WHERE q.partition = p.id))
        AND EXISTS (
            SELECT 1 FROM claims_queues q CROSS JOIN (VALUES (0), ({claimed_side})) s CROSS JOIN (VALUES (1), (2), (3), (4), (5)) n
            WHERE q.partition = p.id
                AND EXISTS (SELECT 1 FROM claims_tasks t INDEXED BY claims_task_next
                    WHERE t.lane = q.id + s.column1 AND t.priority = n.column1 AND t.next_at < {never})
                AND NOT EXISTS (SELECT 1 FROM claims_heads h WHERE h.side = q.id + s.column1 AND h.priority = n.column1)),
        'a first task has no head', NULL)
) AS BLOB) AS found,
    CAST(p.name AS BLOB) AS "name: name"
FROM claims_partitions p LEFT JOIN claims_limits l ON l.name = {rule_of_partition}
WHERE p.id BETWEEN ?1 AND ?2;

-- name: page_of_queue
SELECT id FROM claims_queues WHERE id >= ?1 ORDER BY id LIMIT 1 OFFSET ?2;

-- name: check_queue
SELECT * FROM (SELECT q.id, CAST(concat_ws(char(10),
    iif(q.id BETWEEN {queue_min} AND {lane_max}, NULL, 'id is out of bounds'),
    iif(EXISTS (SELECT 1 FROM claims_partitions p WHERE p.id = q.partition), NULL, format('partition is %Q: there is none such', q.partition)),
    iif(EXISTS (SELECT 1 FROM claims_lanes l WHERE l.id = q.lane AND l.traits & {is_limited}), NULL,
        format('lane is %Q: there is none such', q.lane))
) AS BLOB) AS found
FROM claims_queues q WHERE q.id BETWEEN ?1 AND ?2) WHERE found != x'';

-- name: page_of_head
SELECT side FROM claims_heads WHERE side >= ?1 ORDER BY side LIMIT 1 OFFSET ?2;

-- A head may be earlier than the first task, but not later.
-- name: check_head
SELECT * FROM (SELECT h.side, CAST(concat_ws(char(10),
    iif(h.priority BETWEEN 1 AND 5, NULL, format('priority is %Q', h.priority)),
    iif(h.side BETWEEN {queue_min} AND {claimed_lane_max} AND q.lane IS h.lane, NULL, format('lane is %Q, which is not that of its queue', h.lane)),
    iif(h.next_at <= coalesce((SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next
        WHERE t.lane = h.side AND t.priority = h.priority AND t.next_at IS NOT NULL ORDER BY t.next_at LIMIT 1), {store_time_max}), NULL,
        format('next_at is %Q, later than its first task', h.next_at))
) AS BLOB) AS found
FROM claims_heads h LEFT JOIN claims_queues q ON q.id = h.side & {lane_max}
WHERE h.side BETWEEN ?1 AND ?2) WHERE found != x'';

-- name: page_of_rated
SELECT partition FROM claims_rated WHERE partition >= ?1 ORDER BY partition LIMIT 1 OFFSET ?2;

-- name: check_rated
SELECT * FROM (SELECT r.partition, CAST(concat_ws(char(10),
    iif(EXISTS (SELECT 1 FROM claims_partitions p WHERE p.id = r.partition), NULL, 'there is no such partition'),
    iif(r.claimed_at BETWEEN -{store_time_max} AND {store_time_max}, NULL, format('claimed_at is %Q', r.claimed_at)),
    iif(r.number BETWEEN 1 AND {int_max}, NULL, format('number is %Q', r.number))
) AS BLOB) AS found
FROM claims_rated r WHERE r.partition BETWEEN ?1 AND ?2) WHERE found != x'';

-- name: page_of_options
SELECT task FROM claims_options WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- A task can expire until its first claim. An open task with a unique key is the task that claims_keys names.
-- name: check_options
SELECT * FROM (SELECT o.task, CAST(concat_ws(char(10),
    iif(t.id IS NULL, 'belongs to no task', NULL),
    iif(coalesce(octet_length(o.unique_key) BETWEEN 1 AND 256, TRUE), NULL, format('unique_key is %Q', substr(o.unique_key, 1, 80))),
    iif(coalesce(octet_length(o.metadata) BETWEEN 3 AND {metadata_bytes_max}, TRUE), NULL, format('metadata is %Q', substr(o.metadata, 1, 80))),
    iif(coalesce(o.timeout BETWEEN 1 AND {wall_max}, TRUE), NULL, format('timeout is %Q', o.timeout)),
    iif(coalesce(o.expires_wall BETWEEN {wall_min} AND {wall_max}, TRUE), NULL, format('expires_wall is %Q', o.expires_wall)),
    iif(o.expiring IS NULL OR o.expiring IS o.expires_wall AND t.attempts = 0 AND t.state != {task.claimed}, NULL,
        format('expiring is %Q', o.expiring)),
    iif(o.unique_key IS NULL OR t.state >= {task.completed} OR i.state = {instance.cancelled}
        OR EXISTS (SELECT 1 FROM claims_keys k WHERE k.key = o.unique_key AND k.task = o.task), NULL,
        format('unique_key is %Q, which is not the task''s in claims_keys', substr(o.unique_key, 1, 80)))
) AS BLOB) AS found,
    iif(o.unique_key IS NULL OR length(o.unique_key) = octet_length(o.unique_key) AND o.unique_key NOT GLOB '*[^ -~]*', NULL, CAST(o.unique_key AS BLOB)) AS "unique_key: name",
    CAST(o.metadata AS BLOB) AS "metadata: metadata"
FROM claims_options o LEFT JOIN claims_tasks t ON t.id = o.task LEFT JOIN claims_instances i ON i.id = t.instance
WHERE o.task BETWEEN ?1 AND ?2)
WHERE found != x'' OR "unique_key: name" IS NOT NULL OR "metadata: metadata" IS NOT NULL;

-- The table has no index of its tasks, so all its rows are one page.
-- name: page_of_key
SELECT NULL WHERE ?1 IS NOT NULL AND ?2 IS NOT NULL;

-- name: check_key
SELECT k.task, CAST('is not the task of the key ' || quote(substr(k.key, 1, 80)) AS BLOB) AS found
FROM claims_keys k LEFT JOIN claims_options o ON o.task = k.task
WHERE k.task BETWEEN ?1 AND ?2 AND o.unique_key IS NOT k.key;

-- name: page_of_dependency
SELECT task FROM claims_dependencies WHERE task >= ?1 ORDER BY task LIMIT 1 OFFSET ?2;

-- Some of the tasks of a pruned instance may have been deleted already.
-- name: check_dependency
SELECT * FROM (SELECT d.task, CAST(CASE
    WHEN d.task = d.depends_on THEN format('depends_on is %Q, the task itself', d.depends_on)
    WHEN t.id IS NULL THEN format('depends_on is %Q; belongs to no task', d.depends_on)
    WHEN p.id IS NULL AND EXISTS (SELECT 1 FROM claims_instances i WHERE i.id = t.instance) THEN format('depends_on is %Q: there is no such task', d.depends_on)
    WHEN p.instance != t.instance THEN format('depends_on is %Q, a task of another instance', d.depends_on)
    ELSE '' END AS BLOB) AS found
FROM claims_dependencies d LEFT JOIN claims_tasks t ON t.id = d.task LEFT JOIN claims_tasks p ON p.id = d.depends_on
WHERE d.task BETWEEN ?1 AND ?2) WHERE found != x'';

-- Instances that may contain a cycle of dependencies. Every cycle contains a task that depends on a task that was added
-- later.
-- name: cycle_candidates
SELECT DISTINCT t.instance FROM claims_dependencies d CROSS JOIN claims_tasks t ON t.id = d.task
WHERE d.task BETWEEN ?1 AND ?2 AND d.depends_on > d.task AND t.state = {task.blocked};

-- The dependencies of an instance's blocked tasks.
-- name: blocked_edges
SELECT d.task, d.depends_on FROM claims_tasks t CROSS JOIN claims_dependencies d ON d.task = t.id
WHERE t.instance = ?1 AND t.state = {task.blocked} LIMIT ?2;

-- Sequences that are too low or missing, so that an id could be used twice.
-- name: check_sequence
SELECT name, CAST(format('seq is %Q, below an id that is stored, or absurd', seq) AS BLOB) AS found
FROM sqlite_sequence WHERE CASE name
    WHEN 'claims_instances' THEN seq NOT BETWEEN max((SELECT coalesce(max(id), 0) FROM claims_instances), (SELECT coalesce(max(instance), 0) FROM claims_pruned)) AND {number_max}
    WHEN 'claims_lanes' THEN seq NOT BETWEEN (SELECT coalesce(max(id), 0) FROM claims_lanes) AND {lane_max}
    WHEN 'claims_partitions' THEN seq NOT BETWEEN (SELECT coalesce(max(id), 0) FROM claims_partitions) AND {number_max}
    WHEN 'claims_queues' THEN seq NOT BETWEEN (SELECT coalesce(max(id), {queue_min} - 1) FROM claims_queues) AND {lane_max}
    WHEN 'claims_sessions' THEN seq NOT BETWEEN (SELECT coalesce(max(id), 0) FROM claims_sessions) AND {number_max}
END
UNION ALL
SELECT column1, CAST('has no row, though ids were given' AS BLOB)
FROM (VALUES ('claims_instances', (SELECT max(id) FROM claims_instances)), ('claims_lanes', (SELECT max(id) FROM claims_lanes)),
    ('claims_partitions', (SELECT max(id) FROM claims_partitions)), ('claims_queues', (SELECT max(id) FROM claims_queues)),
    ('claims_sessions', (SELECT max(id) FROM claims_sessions)))
WHERE column2 IS NOT NULL AND column1 NOT IN (SELECT name FROM sqlite_sequence);

-- The objects in the file that have a claims_ name or belong to a claims_ table.
-- name: objects
SELECT type, lower(name), lower(tbl_name), sql FROM sqlite_schema
WHERE lower(name) GLOB 'claims_*' OR lower(tbl_name) GLOB 'claims_*';

-- Foreign keys that refer to the store's tables.
-- name: tables_that_refer
SELECT m.name, lower(f."table") FROM sqlite_schema m CROSS JOIN pragma_foreign_key_list(m.name) f
WHERE m.type = 'table' AND m.sql LIKE '%references%' AND lower(f."table") IN (SELECT value FROM carray(?1));

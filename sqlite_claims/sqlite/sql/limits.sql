-- Statements for limits: rules, partitions, queues, and the heads of partitions that are not full.

-- The ids of a partition's queues. A queue's id is the lane of its waiting tasks.
-- part: queues_of_partition
SELECT id FROM claims_queues WHERE partition = ?1

-- The name of the limit in the name of a partition.
-- part: rule_of_partition
iif(instr(p.name, ':'), substr(p.name, 1, instr(p.name, ':') - 1), p.name)

-- The partitions of the limit ?1. All names from 'limit:' to 'limit;' begin with 'limit:'.
-- part: partitions_of_rule
(p.name = ?1 OR p.name > ?1 || ':' AND p.name < ?1 || ';')

-- Condition: the task's instance is not cancelled. Only while an instance is moving, a task of a cancelled instance can
-- have a claim.
-- part: not_cancelled
((SELECT moving FROM claims_meta WHERE id = 1) = 0
    OR (SELECT i.state FROM claims_instances i WHERE i.id = t.instance) IS NOT {instance.cancelled})

-- Condition: the claim of the task has not expired at ?2.
-- part: live_at_2
(t.lease_expires IS NULL OR t.lease_expires > ?2)

-- name: partition_id
SELECT id FROM claims_partitions WHERE name = ?;

-- name: add_partition
INSERT INTO claims_partitions (name) VALUES (?) RETURNING id;

-- name: set_limited
UPDATE claims_meta SET limited = 1 WHERE id = 1 AND limited = 0;

-- name: is_limited
SELECT limited FROM claims_meta WHERE id = 1;

-- name: queue_id
SELECT id FROM claims_queues WHERE partition = ? AND lane = ?;

-- name: add_queue
INSERT INTO claims_queues (partition, lane) VALUES (?, ?) RETURNING id;

-- name: partition_name
SELECT p.name FROM claims_queues q CROSS JOIN claims_partitions p ON p.id = q.partition WHERE q.id = ?;

-- name: partition_rule
SELECT p.check_at, l.concurrency, l.rate, l.period
FROM claims_partitions p LEFT JOIN claims_limits l ON l.name = {rule_of_partition}
WHERE p.id = ?;

-- The number of live claims of a partition, at most ?3.
-- name: count_running
SELECT count(*) FROM (
    SELECT 1 FROM claims_queues q CROSS JOIN claims_tasks t INDEXED BY claims_task_next
        ON t.lane IN (q.id + {claimed_side}, -(q.id + {claimed_side})) AND t.next_at IS NOT NULL
    WHERE q.partition = ?1 AND {live_at_2} AND {not_cancelled}
    LIMIT ?3
) used;

-- The first time after ?2 at which a claim of a partition expires.
-- name: next_expiry
SELECT min(lease_expires) FROM (
    SELECT t.lease_expires FROM claims_queues q CROSS JOIN claims_tasks t INDEXED BY claims_task_next
        ON t.lane IN (q.id + {claimed_side}, -(q.id + {claimed_side})) AND t.next_at IS NOT NULL
    WHERE q.partition = ?1 AND t.lease_expires > ?2
);

-- The expired claims of a partition, oldest expiry first.
-- name: expired_of_partition
SELECT t.id, t.lease_expires FROM claims_queues q CROSS JOIN claims_tasks t INDEXED BY claims_task_next
    ON t.lane IN (q.id + {claimed_side}, -(q.id + {claimed_side})) AND t.next_at IS NOT NULL
WHERE q.partition = ?1 AND t.lease_expires <= ?2 AND {not_cancelled}
ORDER BY t.lease_expires, t.id;

-- name: lease_of
SELECT lease_expires FROM claims_tasks WHERE id = ?;

-- The heads that a partition has while it is not full. A claim that no search may take over has no head.
-- name: wanted_heads
SELECT side, priority, next_at, lane FROM (
    SELECT q.id + s.column1 AS side, p.column1 AS priority, q.lane, (
        SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next
        WHERE t.lane = q.id + s.column1 AND t.priority = p.column1 AND t.next_at IS NOT NULL ORDER BY t.next_at LIMIT 1
    ) AS next_at
    FROM claims_queues q CROSS JOIN (VALUES (0), ({claimed_side})) s CROSS JOIN {priorities}
    WHERE q.partition = ?1
)
WHERE next_at < {never};

-- name: stored_heads
SELECT side, priority, next_at, lane FROM claims_heads
WHERE side IN ({queues_of_partition} UNION ALL SELECT id + {claimed_side} FROM claims_queues WHERE partition = ?1);

-- name: set_head
INSERT INTO claims_heads (side, priority, next_at, lane) VALUES (?, ?, ?, ?)
ON CONFLICT (side, priority) DO UPDATE SET next_at = excluded.next_at;

-- name: drop_head
DELETE FROM claims_heads WHERE side = ? AND priority = ?;

-- name: set_check_at
UPDATE claims_partitions SET check_at = ?2 WHERE id = ?1;

-- The heads of a lane and a priority after the head (next_at, side) = (?3, ?4), up to now (?5). SQLite merges the
-- results of the two seeks without sorting.
-- name: heads_page
SELECT next_at, side FROM claims_heads INDEXED BY claims_heads_next
WHERE lane = ?1 AND priority = ?2 AND next_at = ?3 AND side > ?4
UNION ALL
SELECT next_at, side FROM claims_heads INDEXED BY claims_heads_next
WHERE lane = ?1 AND priority = ?2 AND next_at > ?3 AND next_at <= ?5
ORDER BY next_at, side
LIMIT ?6;

-- The first head of these lanes whose time is after now (?2), or the first time at which a partition must be checked.
-- name: next_head
SELECT min(next_at) FROM (
    SELECT min((
        SELECT h.next_at FROM claims_heads h INDEXED BY claims_heads_next
        WHERE h.lane = l.value AND h.priority = p.column1 AND h.next_at > ?2 ORDER BY h.next_at LIMIT 1
    )) AS next_at
    FROM carray(?1) l CROSS JOIN {priorities}
    UNION ALL
    SELECT min(check_at) FROM claims_partitions INDEXED BY claims_partitions_check WHERE check_at IS NOT NULL
);

-- The partitions whose heads may have changed without a write.
-- name: partitions_to_check
SELECT id FROM claims_partitions INDEXED BY claims_partitions_check
WHERE check_at IS NOT NULL AND check_at <= ?1 ORDER BY check_at LIMIT ?2;

-- The claims that count for a rate: the claims after ?2.
-- name: rated_claims
SELECT claimed_at, number FROM claims_rated WHERE partition = ?1 AND claimed_at > ?2 ORDER BY claimed_at;

-- name: add_rated
INSERT INTO claims_rated (partition, claimed_at, number) VALUES (?, ?, ?)
ON CONFLICT (partition, claimed_at) DO UPDATE SET number = number + excluded.number;

-- name: drop_rated
DELETE FROM claims_rated WHERE partition = ? AND claimed_at <= ?;

-- name: drop_rated_of_rule
DELETE FROM claims_rated WHERE partition IN (SELECT p.id FROM claims_partitions p WHERE {partitions_of_rule});

-- Let the next sweep compute the heads of all partitions of a limit anew.
-- name: check_partitions_of_rule
UPDATE claims_partitions AS p SET check_at = -{store_time_max} WHERE {partitions_of_rule};

-- name: check_all_partitions
UPDATE claims_partitions SET check_at = -{store_time_max} WHERE (SELECT limited FROM claims_meta WHERE id = 1);

-- Let the next sweep compute the heads of the partitions in which the cancelled instance has claims anew.
-- name: check_partitions_of_instance
UPDATE claims_partitions SET check_at = -{store_time_max}
WHERE id IN (
    SELECT q.partition FROM claims_tasks t INDEXED BY claims_task_next
        CROSS JOIN claims_queues q ON q.id = abs(t.lane) & {lane_max}
    WHERE t.next_at IS NOT NULL AND t.lane >= {claimed_queue_min} AND t.instance = ?1
    UNION ALL
    SELECT q.partition FROM claims_tasks t INDEXED BY claims_task_next
        CROSS JOIN claims_queues q ON q.id = abs(t.lane) & {lane_max}
    WHERE t.next_at IS NOT NULL AND t.lane <= -{claimed_queue_min} AND t.instance = ?1
);

-- The lanes of the open tasks with a limit that one step of a control operation changes.
-- name: limited_lanes_of_step
SELECT lane FROM claims_tasks
WHERE instance = ?1 AND name > ?2 AND name <= ?3 AND state < {task.completed} AND abs(lane) & {queue_min};

-- The lanes of the dependents with a limit whose only open dependency is this task.
-- name: limited_lanes_unblocked
SELECT t.lane FROM claims_dependencies d CROSS JOIN claims_tasks t ON t.id = d.task
WHERE d.depends_on = ?1 AND t.open_deps = 1 AND t.state = {task.blocked} AND abs(t.lane) & {queue_min};

-- The first position of a claimable task with a limit on one side of a queue, at one priority. While an instance is
-- moving, the rows of tasks that can't be claimed are skipped.
-- part: first_of_side
SELECT t.next_at FROM claims_tasks t INDEXED BY claims_task_next
WHERE t.lane = h.side AND t.priority = h.priority AND t.next_at <= ?1
    AND (SELECT i.state FROM claims_instances i WHERE i.id = t.instance) = {instance.in_progress}
ORDER BY t.next_at LIMIT 1

-- The statement leaves out the heads that the next sweep computes anew.
-- name: longest_waiting_head
SELECT min(({first_of_side})) FROM claims_heads h
WHERE h.next_at <= ?1 AND NOT EXISTS (
    SELECT 1 FROM claims_queues q CROSS JOIN claims_partitions p ON p.id = q.partition
    WHERE q.id = h.side & {lane_max} AND p.check_at <= ?1
);

-- name: longest_waiting_in
SELECT min(({first_of_side}))
FROM (
    SELECT q.id + s.column1 AS side, p.column1 AS priority
    FROM claims_queues q CROSS JOIN (VALUES (0), ({claimed_side})) s CROSS JOIN {priorities}
    WHERE q.partition = ?2
) h;

-- The tasks with a limit that are due but have no position yet.
-- name: limited_due_lanes
SELECT t.lane, t.due_wall FROM {priorities} CROSS JOIN claims_tasks t INDEXED BY claims_task_due
    ON t.priority = p.column1 CROSS JOIN claims_instances i ON i.id = t.instance
WHERE {waits_for_day} AND t.due_wall <= ?1 AND abs(t.lane) & {queue_min} AND i.state = {instance.in_progress};

-- name: set_limit
INSERT INTO claims_limits (name, concurrency, rate, period) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, rate = excluded.rate, period = excluded.period;

-- name: drop_limit
DELETE FROM claims_limits WHERE name = ? RETURNING id;

-- name: limits
SELECT name, concurrency, rate, period FROM claims_limits ORDER BY name;

-- The number of a limit's tasks that are running, and that are ready, and the number of partitions with such tasks, or
-- with scheduled tasks.
-- name: limit_counts
SELECT coalesce(sum(t.state = {task.claimed} AND {live_at_2}), 0) AS running,
    coalesce(sum(t.state = {task.waiting} AND t.next_at <= ?2), 0) AS waiting, count(DISTINCT p.id) AS partitions
FROM claims_partitions p CROSS JOIN claims_queues q ON q.partition = p.id
    CROSS JOIN claims_tasks t INDEXED BY claims_task_next
    ON t.lane IN (q.id, -q.id, q.id + {claimed_side}, -(q.id + {claimed_side})) AND t.next_at IS NOT NULL
WHERE {partitions_of_rule} AND {not_cancelled};

-- The number of a limit's tasks that are due but have no position yet, because no sweep has run since they became due.
-- name: limited_due
SELECT count(*) FROM {priorities} CROSS JOIN claims_tasks t INDEXED BY claims_task_due ON t.priority = p.column1
WHERE {waits_for_day} AND t.due_wall <= ?2 AND abs(t.lane) & {queue_min} AND {not_cancelled}
    AND ?1 = (
        SELECT {rule_of_partition} FROM claims_queues q CROSS JOIN claims_partitions p ON p.id = q.partition
        WHERE q.id = abs(t.lane) & {lane_max}
    );

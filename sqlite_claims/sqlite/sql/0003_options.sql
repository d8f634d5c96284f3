-- Schema version 3: options of tasks (unique keys, limits, metadata, timeouts, expiry), progress, attempts, and schedules.
-- All tables except claims_meta and claims_pruned get plural names. Because of the new names, every statement of an older
-- library fails, also in a process that has the file open. Such a process would ignore limits, keys and expiry.
-- The migration must be fast for a file with millions of tasks. So it adds no column to a large table, because SQLite
-- reads a whole STRICT table when a column is added, and it creates no index on a large table.

DROP VIEW claims_tasks_v;

ALTER TABLE claims_task RENAME TO claims_tasks;
ALTER TABLE claims_instance RENAME TO claims_instances;
ALTER TABLE claims_policy RENAME TO claims_policies;
ALTER TABLE claims_input RENAME TO claims_inputs;
ALTER TABLE claims_output RENAME TO claims_outputs;
ALTER TABLE claims_error RENAME TO claims_errors;
ALTER TABLE claims_dependency RENAME TO claims_dependencies;
ALTER TABLE claims_session RENAME TO claims_sessions;
ALTER TABLE claims_meta RENAME COLUMN aging TO aging_interval;

-- 0: no task of the store has an expires_at that has not been reached; 1: there may be such tasks.
ALTER TABLE claims_meta ADD COLUMN expiring INTEGER NOT NULL DEFAULT 0;
-- 0: no task of the store has a limit; 1: there may be such tasks.
ALTER TABLE claims_meta ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;
-- The lowest claims_schedules.next_wall; NULL: no schedule has a next tick.
ALTER TABLE claims_meta ADD COLUMN next_tick INTEGER;
-- The number of completed tasks that were deleted by prune and delete_instance.
ALTER TABLE claims_meta ADD COLUMN completed_deleted INTEGER NOT NULL DEFAULT 0;

CREATE TABLE claims_lanes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never reused after its lane is deleted
    kind     TEXT    NOT NULL, -- '' if the task has no kind
    tags     TEXT    NOT NULL, -- JSON array, sorted
    instance INTEGER NOT NULL DEFAULT 0, -- the instance that owns the lane; 0: a shared lane
    traits   INTEGER NOT NULL DEFAULT 0, -- bits: 1 the tasks have a row in claims_options, 2 the tasks have a limit
    UNIQUE (instance, kind, tags, traits)
) STRICT;
INSERT INTO claims_lanes (id, kind, tags, instance) SELECT id, kind, tags, instance FROM claims_lane;
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'claims_lane') WHERE name = 'claims_lanes';
DROP TABLE claims_lane;

-- Options that few tasks have. A task has a row if at least one of these options was given.
CREATE TABLE claims_options (
    task         INTEGER PRIMARY KEY,
    unique_key   TEXT,
    metadata     TEXT,    -- JSON object
    timeout      INTEGER, -- microseconds that one attempt may run
    expires_wall INTEGER, -- wall-clock time from which the task can't be claimed for the first time
    expiring     INTEGER  -- expires_wall until the task is claimed for the first time or ends; then NULL
) STRICT;
CREATE INDEX claims_options_expiring ON claims_options (expiring) WHERE expiring IS NOT NULL;

-- The task that has a unique key. The key is free if this task has ended or was deleted.
CREATE TABLE claims_keys (key TEXT PRIMARY KEY, task INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- The rules of limits. A rule without a concurrency or without a rate has NULL there.
CREATE TABLE claims_limits (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    concurrency INTEGER,
    rate        INTEGER, -- number of claims in any window of length period
    period      INTEGER  -- microseconds
) STRICT;

-- One partition of a limit: all tasks with the same NewTask.limit. A partition is full if none of its tasks can be
-- claimed now because of the rule. A full partition has no rows in claims_heads.
CREATE TABLE claims_partitions (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL UNIQUE, -- NewTask.limit
    check_at INTEGER -- store time at which the partition's heads may change without a write; NULL: never
) STRICT;
CREATE INDEX claims_partitions_check ON claims_partitions (check_at) WHERE check_at IS NOT NULL;

-- One queue for the tasks of one partition in one lane. claims_tasks.lane is the id of the queue. Ids of queues begin at
-- 2^31, so a queue never has the id of a lane.
CREATE TABLE claims_queues (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    partition INTEGER NOT NULL,
    lane      INTEGER NOT NULL,
    UNIQUE (partition, lane)
) STRICT;
INSERT INTO sqlite_sequence (name, seq) VALUES ('claims_queues', 2147483647);

-- The first task of each queue and priority, if the partition is not full. A search reads this index instead of the
-- queues, so tasks of full partitions cost nothing. `side` is the queue's id as in claims_tasks.lane: with 2^32 added for
-- expired claims.
CREATE TABLE claims_heads (
    side     INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    lane     INTEGER NOT NULL,
    PRIMARY KEY (side, priority)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_heads_next ON claims_heads (lane, priority, next_at);

-- The number of claims at each store time that still count for the rate of a partition's rule.
CREATE TABLE claims_rated (
    partition  INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    PRIMARY KEY (partition, claimed_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE claims_progress (
    task          INTEGER PRIMARY KEY,
    done          REAL,
    total         REAL,
    note          TEXT,
    reported_wall INTEGER NOT NULL
) STRICT;
CREATE TABLE claims_checkpoints (task INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;

-- The newest attempts of each task that ended without completion.
CREATE TABLE claims_attempts (
    id           INTEGER PRIMARY KEY,
    task         INTEGER NOT NULL,
    attempt      INTEGER NOT NULL, -- 1 for the first claim of the task
    worker       TEXT    NOT NULL,
    started_wall INTEGER NOT NULL,
    ended_wall   INTEGER NOT NULL,
    outcome      INTEGER NOT NULL, -- 0 failed, 1 lost, 2 timed out
    error        TEXT    NOT NULL,
    detail       BLOB    NOT NULL
) STRICT;
CREATE INDEX claims_attempts_task ON claims_attempts (task);

CREATE TABLE claims_schedules (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    timing          TEXT    NOT NULL, -- JSON: a Cron or an Every, and the marks from which ticks count
    task            TEXT    NOT NULL, -- JSON: the NewTask without its input
    input           BLOB,
    catch_up        INTEGER NOT NULL, -- 0 latest, 1 all, 2 none
    definition_hash TEXT    NOT NULL,
    next_wall       INTEGER,          -- the next tick; NULL while the schedule is paused
    last_wall       INTEGER,          -- the latest tick that was added
    seen_wall       INTEGER NOT NULL, -- wall-clock time at which a process last looked at the schedule's ticks
    paused          INTEGER NOT NULL
) STRICT;

CREATE VIEW claims_tasks_v AS
SELECT i.name AS instance, t.name AS task,
    CASE WHEN i.state = 4 AND t.state < 3 THEN 'cancelled'
        ELSE rtrim(substr('blocked  waiting  claimed  completedfailed   cancelled', t.state * 9 + 1, 9)) END AS state,
    l.kind, l.tags, t.priority, t.attempts, t.failures, t.losses, t.worker, t.token,
    p.name AS "limit", o.unique_key, o.metadata,
    datetime(t.added_wall / 1000000, 'unixepoch') AS added_at,
    datetime(t.started_wall / 1000000, 'unixepoch') AS started_at,
    datetime(t.expires_wall / 1000000, 'unixepoch') AS expires_at,
    datetime(t.finished_wall / 1000000, 'unixepoch') AS finished_at,
    e.message AS error
FROM claims_tasks t JOIN claims_instances i ON i.id = t.instance
    LEFT JOIN claims_queues q ON q.id = abs(t.lane) & 4294967295
    LEFT JOIN claims_partitions p ON p.id = q.partition
    JOIN claims_lanes l ON l.id = coalesce(q.lane, abs(t.lane) & 4294967295)
    LEFT JOIN claims_options o ON o.task = t.id
    LEFT JOIN claims_errors e ON e.task = t.id;

-- Schema version 1, which docs/file-format.md explains. Never edit this schema: to change it, add a new migration file.
-- Times are integers in microseconds. A column *_wall is wall-clock time; all other times are store time (boot clock +
-- anchor).

CREATE TABLE claims_meta (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    boot_id        TEXT    NOT NULL,
    anchor         INTEGER NOT NULL, -- store time = boot clock + anchor
    seen           INTEGER NOT NULL, -- store time of a recent write; the latest write is at most a second later
    sleep          INTEGER NOT NULL, -- the part of boot clock - awake clock by which leases have been prolonged already
    token_floor    INTEGER NOT NULL, -- all later tokens are larger than this number
    aging          INTEGER,          -- waiting time that counts as one priority level; NULL: no aging
    lanes          INTEGER NOT NULL, -- a number that changes with the lanes; processes then read the lanes again
    moving         INTEGER NOT NULL, -- number of instances whose task rows are still being updated after a control
    due_offset     INTEGER NOT NULL, -- store time - wall clock; gives a task with due_wall its position
    is_copy        INTEGER NOT NULL  -- 1 in a backup until the backup is opened for writing
) STRICT;

CREATE TABLE claims_instance (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never reused, not even after a prune
    name            TEXT    NOT NULL UNIQUE,
    state           INTEGER NOT NULL, -- 0 in progress, 1 paused, 2 completed, 3 failed, 4 cancelled
    moving          TEXT,             -- the task name up to which the rows are updated after a control; NULL: all
    definition_hash TEXT    NOT NULL,
    reason          TEXT,
    total           INTEGER NOT NULL, -- number of tasks; the next four columns are the numbers of tasks in these states
    blocked         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    cancelled       INTEGER NOT NULL,
    added_wall      INTEGER NOT NULL,
    finished_wall   INTEGER
) STRICT;

CREATE INDEX claims_instance_finished ON claims_instance (finished_wall) WHERE finished_wall IS NOT NULL;
CREATE INDEX claims_instance_moving ON claims_instance (moving) WHERE moving IS NOT NULL;

-- Pruned instances whose tasks are still being deleted. No operation finds these tasks, because the row of their
-- instance is deleted.
CREATE TABLE claims_pruned (instance INTEGER PRIMARY KEY) STRICT;

-- One lane is one combination of a kind and a set of tags. A worker's kinds and tags select the lanes that the worker
-- searches.
CREATE TABLE claims_lane (
    id   INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, -- '' if the task has no kind
    tags TEXT NOT NULL, -- JSON array, sorted
    UNIQUE (kind, tags)
) STRICT;

CREATE TABLE claims_policy (
    id            INTEGER PRIMARY KEY,
    initial_delay REAL NOT NULL, -- seconds
    multiplier    REAL NOT NULL,
    max_delay     REAL NOT NULL,
    jitter        REAL NOT NULL,
    UNIQUE (initial_delay, multiplier, max_delay, jitter)
) STRICT;

-- The task rows are updated often. So these rows contain no inputs and outputs, because an UPDATE rewrites the whole
-- row, including its overflow pages.
CREATE TABLE claims_task (
    id            INTEGER PRIMARY KEY, -- grows in the order of adding
    instance      INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    lane          INTEGER NOT NULL, -- + 2^32 while the task is claimed; negative while the instance is paused
    priority      INTEGER NOT NULL,
    state         INTEGER NOT NULL, -- 0 blocked, 1 waiting (scheduled or ready), 2 claimed, 3 completed, 4 failed, 5 cancelled
    available_at  INTEGER NOT NULL, -- the task's position; a released task returns to it
    next_at       INTEGER,          -- can be claimed from this time on: available_at, or the expiry of the claim (2^62: never)
    token         INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    losses        INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    max_lost      INTEGER NOT NULL,
    policy        INTEGER NOT NULL,
    open_deps     INTEGER NOT NULL,
    worker        TEXT,             -- the worker that holds or last held the task
    session       INTEGER,
    lease_expires INTEGER,          -- NULL: no claim, or a claim that never expires
    started_wall  INTEGER,
    expires_wall  INTEGER,
    failed_worker TEXT,             -- the worker on which the last attempt failed
    added_wall    INTEGER NOT NULL,
    finished_wall INTEGER,
    delay         INTEGER,          -- counted from the completion of the dependencies
    due_wall      INTEGER,          -- wall-clock time from which the task can be claimed
    input_from    INTEGER,          -- the task's only dependency, if its output is the input of this task
    UNIQUE (instance, name)
) STRICT;

-- All tasks that can be claimed now, or later when their time comes. A claim sets next_at to the expiry of the claim,
-- so a search finds delayed tasks, retries and expired claims without a background process. A claim also moves the row
-- to the claimed side of its lane, so all claimed tasks are together at the end of the index. A search must not find a
-- task with a last claim (the task has one loss left), because the loss of this claim fails the task. So the next_at of
-- such a task is 2^62.
CREATE INDEX claims_task_next ON claims_task (lane, priority, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX claims_task_last ON claims_task (lease_expires)
    WHERE state = 2 AND next_at = 4611686018427387904 AND lease_expires IS NOT NULL AND lane > 0;
CREATE INDEX claims_task_due ON claims_task (priority, due_wall)
    WHERE state = 1 AND next_at IS NULL AND due_wall IS NOT NULL;

CREATE TABLE claims_input (task INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE claims_output (task INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE claims_error (task INTEGER PRIMARY KEY, message TEXT NOT NULL) STRICT;

CREATE TABLE claims_dependency (
    task       INTEGER NOT NULL,
    depends_on INTEGER NOT NULL,
    PRIMARY KEY (task, depends_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_dependency_reverse ON claims_dependency (depends_on);

-- One row for each worker session. The session is alive as long as a process holds the lock on byte `id` of the
-- -sessions file.
CREATE TABLE claims_session (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    worker       TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    started_wall INTEGER NOT NULL
) STRICT;

INSERT INTO claims_policy VALUES (1, 1.0, 2.0, 3600.0, 0.1);

-- Views for people who use the sqlite3 shell. A task in the state "waiting" is ready or scheduled. A view can't
-- distinguish ready from scheduled, because the difference depends on the boot clock.
CREATE VIEW claims_tasks_v AS
SELECT i.name AS instance, t.name AS task,
    CASE WHEN i.state = 4 AND t.state < 3 THEN 'cancelled'
        ELSE rtrim(substr('blocked  waiting  claimed  completedfailed   cancelled', t.state * 9 + 1, 9)) END AS state,
    l.kind, l.tags, t.priority, t.attempts, t.failures, t.losses, t.worker, t.token,
    datetime(t.added_wall / 1000000, 'unixepoch') AS added_at,
    datetime(t.started_wall / 1000000, 'unixepoch') AS started_at,
    datetime(t.expires_wall / 1000000, 'unixepoch') AS expires_at,
    datetime(t.finished_wall / 1000000, 'unixepoch') AS finished_at,
    e.message AS error
FROM claims_task t JOIN claims_instance i ON i.id = t.instance JOIN claims_lane l ON l.id = abs(t.lane) & 4294967295
    LEFT JOIN claims_error e ON e.task = t.id;

CREATE VIEW claims_instances_v AS
SELECT name AS instance,
    CASE state WHEN 0 THEN 'in_progress' WHEN 1 THEN 'paused' WHEN 2 THEN 'completed' WHEN 3 THEN 'failed'
        ELSE 'cancelled' END AS state,
    total, total - completed - failed - cancelled AS open, completed, failed, cancelled, definition_hash, reason,
    datetime(added_wall / 1000000, 'unixepoch') AS added_at,
    datetime(finished_wall / 1000000, 'unixepoch') AS finished_at
FROM claims_instance;

-- Schema version 1. docs/file-format.md explains it; a change here is a new migration, never an edit.
-- Times are integer microseconds: *_wall by the wall clock, all others in store time (boot clock + anchor).

CREATE TABLE claims_meta (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    boot_id        TEXT    NOT NULL,
    anchor         INTEGER NOT NULL, -- store time = boot clock + anchor
    seen           INTEGER NOT NULL, -- store time of a recent write: no write is more than a second past it
    sleep          INTEGER NOT NULL, -- boot clock - awake clock, as far as leases have been prolonged for it
    token_floor    INTEGER NOT NULL, -- tokens to come are above this
    aging          INTEGER,          -- waiting that is worth one priority level; NULL: no aging
    lanes          INTEGER NOT NULL, -- how many lanes there are: processes reread them when it changes
    moving         INTEGER NOT NULL, -- instances whose rows are still entering or leaving the index
    due_offset     INTEGER NOT NULL, -- store time - wall clock, by which tasks due by the calendar get their place
    is_copy        INTEGER NOT NULL  -- 1 in a backup until it is first put to work
) STRICT;

CREATE TABLE claims_instance (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- never again the id of one that is being pruned
    name            TEXT    NOT NULL UNIQUE,
    state           INTEGER NOT NULL, -- 0 in progress, 1 paused, 2 completed, 3 failed, 4 cancelled
    moving          TEXT,             -- the task name up to which its rows follow its state; NULL: all do
    definition_hash TEXT    NOT NULL,
    reason          TEXT,
    total           INTEGER NOT NULL, -- tasks; the next four count those in that state
    blocked         INTEGER NOT NULL,
    completed       INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    cancelled       INTEGER NOT NULL,
    added_wall      INTEGER NOT NULL,
    finished_wall   INTEGER
) STRICT;

CREATE INDEX claims_instance_finished ON claims_instance (finished_wall) WHERE finished_wall IS NOT NULL;
CREATE INDEX claims_instance_moving ON claims_instance (moving) WHERE moving IS NOT NULL;

-- Pruned instances whose tasks are still being removed. They are gone for everyone, since no instance leads to them.
CREATE TABLE claims_pruned (instance INTEGER PRIMARY KEY) STRICT;

-- One lane is one (kind, set of tags). A worker's kinds and tags select lanes.
CREATE TABLE claims_lane (
    id   INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, -- '' where none was given
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

-- The hot row: no payload in it, because an UPDATE rewrites the whole row, overflow pages too.
CREATE TABLE claims_task (
    id            INTEGER PRIMARY KEY, -- grows in the order of adding
    instance      INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    lane          INTEGER NOT NULL, -- + 2^32 while it is claimed; negative while its instance is paused, out of every worker's way
    priority      INTEGER NOT NULL,
    state         INTEGER NOT NULL, -- 0 blocked, 1 waiting (scheduled or ready), 2 claimed, 3 completed, 4 failed, 5 cancelled
    available_at  INTEGER NOT NULL, -- its own place in the order; a release returns it there
    next_at       INTEGER,          -- when it may next be claimed: available_at, or the expiry of its claim (2^62: not by time)
    token         INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    losses        INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    max_lost      INTEGER NOT NULL,
    policy        INTEGER NOT NULL,
    open_deps     INTEGER NOT NULL,
    worker        TEXT,             -- who holds it or held it last
    session       INTEGER,
    lease_expires INTEGER,          -- NULL: no claim, or one without an end
    started_wall  INTEGER,
    expires_wall  INTEGER,
    failed_worker TEXT,             -- on whom the last attempt failed
    added_wall    INTEGER NOT NULL,
    finished_wall INTEGER,
    delay         INTEGER,          -- counted from when the dependencies are met
    due_wall      INTEGER,          -- available_at by the calendar
    input_from    INTEGER,          -- the one dependency whose output is the input
    UNIQUE (instance, name)
) STRICT;

-- All that can be claimed, now or by time alone. A claim moves its row to its expiry, so delays, back-off and expired
-- claims need no sweeper; and to the claimed side of its lane, so that all claims there are stand together at the end.
-- A last claim (one that max_lost allows no loss of) never comes up there: losing it fails the task.
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

-- One row a worker session; its liveness is the lock on byte `id` of the -sessions file, not this row.
CREATE TABLE claims_session (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    worker       TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    started_wall INTEGER NOT NULL
) STRICT;

INSERT INTO claims_policy VALUES (1, 1.0, 2.0, 3600.0, 0.1);

-- For people with the sqlite3 shell. A waiting task is ready or scheduled: the file alone can't tell, since that goes by
-- the boot clock.
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

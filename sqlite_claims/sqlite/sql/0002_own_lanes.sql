-- Schema version 2: an instance with many tasks has its own lanes, which no worker searches while the instance is
-- paused or cancelled. With shared lanes, each search for work would have to skip the instance's tasks one by one until
-- their rows are updated. Before this migration, every process that has the file open and supports only version 1 must
-- end. Such a process would treat own lanes as shared lanes. And after a resume of an instance, such a process would
-- not make other processes reload the lanes. (Every release supports version 2.)

DROP VIEW claims_tasks_v;

CREATE TABLE claims_lane_2 (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never reused after its lane is deleted
    kind     TEXT    NOT NULL, -- '' if the task has no kind
    tags     TEXT    NOT NULL, -- JSON array, sorted
    instance INTEGER NOT NULL DEFAULT 0, -- the instance that owns the lane; 0: a shared lane
    UNIQUE (instance, kind, tags)
) STRICT;
INSERT INTO claims_lane_2 (id, kind, tags) SELECT id, kind, tags FROM claims_lane;
DROP TABLE claims_lane;
ALTER TABLE claims_lane_2 RENAME TO claims_lane;

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

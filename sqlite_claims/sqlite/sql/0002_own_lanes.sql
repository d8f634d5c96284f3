-- Schema version 2: an instance of many tasks has lanes of its own, which no worker looks into while it doesn't run.
-- Without that, who looks for work while it is being paused or cancelled would come across each of its rows.
-- A process that has the file open and only knows version 1 has to end first: it would take an instance's own lanes for
-- shared ones, and tell nobody when it resumes such an instance. (No release knew version 1 alone.)

DROP VIEW claims_tasks_v;

CREATE TABLE claims_lane_2 (
    id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never again the id of one that is gone
    kind     TEXT    NOT NULL, -- '' where none was given
    tags     TEXT    NOT NULL, -- JSON array, sorted
    instance INTEGER NOT NULL DEFAULT 0, -- whose own it is; 0: shared
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

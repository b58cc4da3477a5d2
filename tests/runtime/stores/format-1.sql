BEGIN TRANSACTION;
CREATE TABLE audit (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE deposed (
    environment TEXT NOT NULL, label TEXT NOT NULL, nodes TEXT NOT NULL, PRIMARY KEY (environment, label));
INSERT INTO "deposed" VALUES('shop','redis01','{}');
CREATE TABLE destinations (
    name TEXT PRIMARY KEY, url TEXT NOT NULL, topics TEXT NOT NULL, environments TEXT NOT NULL);
INSERT INTO "destinations" VALUES('oncall','json://hooks.example.com/a-token-in-the-path','["incident"]','["shop"]');
CREATE TABLE drills (
    environment TEXT NOT NULL, id TEXT NOT NULL, label TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (environment, id));
CREATE TABLE environments (
    name TEXT PRIMARY KEY, file TEXT NOT NULL, text TEXT NOT NULL, directory TEXT NOT NULL, path TEXT NOT NULL,
    overrides TEXT NOT NULL DEFAULT '{}', revisions TEXT NOT NULL DEFAULT '{}', stopped INTEGER NOT NULL DEFAULT 0);
INSERT INTO "environments" VALUES('shop','/srv/everup.yaml','environment: shop
services:
  redis01: {kind: redis, ha: true}
','/srv','/usr/bin:/bin','{}','{}',0);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, environment TEXT NOT NULL, at_utc TEXT NOT NULL, name TEXT NOT NULL,
    service TEXT, node TEXT, fields TEXT NOT NULL);
INSERT INTO "events" VALUES(7,'shop','2026-11-22T14:00:00.000+00:00','control.started',NULL,NULL,'{"pid": 4711}');
INSERT INTO "events" VALUES(8,'shop','2026-11-22T14:00:01.000+00:00','primary.changed','redis01','redis01-2','{"primary": "redis01-2", "generation": 4, "because": "redis01-1 is dead"}');
CREATE TABLE grants (
    environment TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (environment, key));
INSERT INTO "grants" VALUES('shop','redis01/endpoint','{"redis": ["127.91.0.2", 6379]}');
INSERT INTO "grants" VALUES('shop','redis01/password','"kept"');
CREATE TABLE groups (
    environment TEXT NOT NULL, label TEXT NOT NULL, primary_node TEXT, generation INTEGER NOT NULL,
    marked INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (environment, label));
INSERT INTO "groups" VALUES('shop','redis01','redis01-2',4,3);
CREATE TABLE revisions (
    environment TEXT NOT NULL, label TEXT NOT NULL, number INTEGER NOT NULL, declared TEXT NOT NULL,
    serial INTEGER NOT NULL, at_utc TEXT NOT NULL, trial TEXT NOT NULL, because TEXT NOT NULL,
    PRIMARY KEY (environment, label, number));
INSERT INTO "revisions" VALUES('shop','web',1,'{"run": "python web.py"}',0,'2026-11-22T14:00:00.000+00:00','good','its declaration changed');
CREATE TABLE secrets (
    environment TEXT NOT NULL, name TEXT NOT NULL, sealed TEXT NOT NULL, set_at_utc TEXT NOT NULL, set_by TEXT NOT NULL,
    PRIMARY KEY (environment, name));
CREATE TABLE tokens (
    name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, level TEXT NOT NULL, environments TEXT,
    created_utc TEXT NOT NULL, expires_utc TEXT, used_utc TEXT);
CREATE INDEX events_by_environment ON events (environment, seq);
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',8);
COMMIT;
PRAGMA user_version = 1;

-- Facts that must never change under a database, such as the slot length.
CREATE TABLE facts (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- The market's event log: append only. State is rebuilt from it.
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY,
  at_nanos INTEGER NOT NULL,
  body     TEXT NOT NULL
) STRICT;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;

-- What a call with an idempotency key was answered.
CREATE TABLE idempotency_keys (
  tenant       TEXT NOT NULL,
  key          TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status       INTEGER NOT NULL,
  body         TEXT NOT NULL,
  at_nanos     INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

-- API tokens, as hashes only. No purchaser: the operator's.
CREATE TABLE tokens (
  hash      BLOB PRIMARY KEY,
  purchaser TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE sites (
  id        TEXT PRIMARY KEY,
  purchaser TEXT NOT NULL,
  body      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A name may be claimed by several sites, but proved by one.
CREATE TABLE hosts (
  host      TEXT NOT NULL,
  site      TEXT NOT NULL REFERENCES sites (id),
  challenge TEXT NOT NULL,
  proved_at_nanos INTEGER,
  PRIMARY KEY (host, site)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX hosts_are_proved_once ON hosts (host) WHERE proved_at_nanos IS NOT NULL;

-- The operator's own load per region and slot: what forecasts are made from.
CREATE TABLE series (
  region              TEXT NOT NULL,
  slot                INTEGER NOT NULL,
  requests_per_second REAL NOT NULL,
  PRIMARY KEY (region, slot)
) STRICT, WITHOUT ROWID;

-- What was found unused and offered, as last decided before each slot.
CREATE TABLE slots (
  region          TEXT NOT NULL,
  slot            INTEGER NOT NULL,
  capacity_units  INTEGER NOT NULL,
  headroom_units  INTEGER NOT NULL,
  risk_millionths INTEGER NOT NULL,
  offered_units   INTEGER NOT NULL,
  PRIMARY KEY (region, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE plans (
  generation INTEGER PRIMARY KEY,
  body       TEXT NOT NULL
) STRICT;

-- Meters as they arrived, one row per edge, contract and second: a repeated report changes nothing.
CREATE TABLE contract_meters (
  contract INTEGER NOT NULL,
  second   INTEGER NOT NULL,
  edge     TEXT NOT NULL,
  offered  INTEGER NOT NULL,
  served   INTEGER NOT NULL,
  refused  INTEGER NOT NULL,
  hits     INTEGER NOT NULL,
  bytes    INTEGER NOT NULL,
  available_millirequests INTEGER NOT NULL,
  PRIMARY KEY (contract, second, edge)
) STRICT, WITHOUT ROWID;

CREATE TABLE own_meters (
  region   TEXT NOT NULL,
  second   INTEGER NOT NULL,
  edge     TEXT NOT NULL,
  requests INTEGER NOT NULL,
  hits     INTEGER NOT NULL,
  bytes    INTEGER NOT NULL,
  PRIMARY KEY (region, second, edge)
) STRICT, WITHOUT ROWID;

CREATE TABLE mapping_meters (
  site             TEXT NOT NULL,
  region           TEXT NOT NULL,
  second           INTEGER NOT NULL,
  name_server      TEXT NOT NULL,
  mapping_requests INTEGER NOT NULL,
  mapped_to_edges  INTEGER NOT NULL,
  PRIMARY KEY (site, region, second, name_server)
) STRICT, WITHOUT ROWID;

-- The hash chain over the event log. A table of its own, so that the log of an older database can be
-- chained without touching it.
CREATE TABLE event_hashes (
  sequence INTEGER PRIMARY KEY REFERENCES events (sequence),
  hash     BLOB NOT NULL
) STRICT;

CREATE TRIGGER event_hashes_are_never_changed BEFORE UPDATE ON event_hashes
BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;

CREATE TRIGGER event_hashes_are_never_deleted BEFORE DELETE ON event_hashes
BEGIN SELECT RAISE(ABORT, 'the event log is append only'); END;

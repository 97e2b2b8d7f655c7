-- Which reports are in the meters. An edge sends a report again until it is acknowledged, and two
-- runs of an edge can report parts of one second: parts add up, a repeated report changes nothing.
CREATE TABLE meter_reports (
  second      INTEGER NOT NULL,
  edge        TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  PRIMARY KEY (second, edge, incarnation)
) STRICT, WITHOUT ROWID;

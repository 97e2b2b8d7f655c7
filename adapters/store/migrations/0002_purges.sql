-- What edges must no longer serve from their caches. AUTOINCREMENT: a sequence number is never used
-- twice, also after its row is deleted. A site may be the operator's own, which is not in `sites`.
CREATE TABLE purges (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  site     TEXT NOT NULL,
  scope    TEXT NOT NULL
) STRICT;

"""The tables of the durable queue, in SQL."""

from typing import Final

#: Version of the tables below, stored in the file; 0 is a file without tables.
FORMAT: Final = 3
SCHEMA: Final = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE IF NOT EXISTS image (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the id of a queue entry is never used again
    name TEXT NOT NULL UNIQUE,          -- SHA-256 of the SOP Instance UID, or of a PNG or JPEG file;
                                        -- of a replaced entry with its id
    pixels TEXT NOT NULL,               -- SHA-256 of its encoded pixels, or as name
    header TEXT NOT NULL,               -- SHA-256 of the attributes that its results depend on, or empty
    study TEXT NOT NULL,                -- SHA-256 of its Study Instance UID, or empty
    merged INTEGER NOT NULL DEFAULT 0,  -- whether the result of its study has it
    source TEXT,                        -- path of its file in the watched folder
    state TEXT NOT NULL DEFAULT 'waiting',   -- waiting, done, dead, replaced
    attempts INTEGER NOT NULL DEFAULT 0,    -- that failed
    unfinished INTEGER NOT NULL DEFAULT 0,  -- attempts during which the process ended
    due REAL NOT NULL DEFAULT 0,        -- in seconds of the node's time, as arrived and ended
    code TEXT, message TEXT,            -- of the last failure
    received REAL NOT NULL,             -- seconds since the epoch, for display alone
    arrived REAL NOT NULL,
    ended REAL                          -- when it was done or replaced, or became a dead letter
);
CREATE INDEX IF NOT EXISTS image_waiting ON image (state, due, id);
CREATE INDEX IF NOT EXISTS image_study ON image (study, merged);
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    object TEXT NOT NULL,               -- its file in the folder of results
    withdrawn INTEGER NOT NULL DEFAULT 0,    -- whether it is to be removed there, not sent
    state TEXT NOT NULL DEFAULT 'waiting',   -- waiting, sent, dead, replaced
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    code TEXT, message TEXT,
    ended REAL,                         -- when it was sent or replaced, or became a dead letter
    UNIQUE (image, destination, object)
);
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (state, destination, due, id);
CREATE INDEX IF NOT EXISTS delivery_destination ON delivery (destination, id);
CREATE INDEX IF NOT EXISTS delivery_object ON delivery (object);
CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seconds REAL NOT NULL               -- of the node's time so far
);
"""
#: The latest time that the last process recorded.
LATEST: Final = """
SELECT max(
    coalesce((SELECT seconds FROM clock), 0),
    coalesce((SELECT max(max(arrived, coalesce(ended, 0))) FROM image), 0),
    coalesce((SELECT max(ended) FROM delivery), 0)
)
"""

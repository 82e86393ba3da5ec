"""The tables of the SQLite journal, one script for each version; a version that was released never changes."""

import sqlite3

from dispatcher.journal.base import JournalError

# "EMLJ": tells a journal from another program's database.
APPLICATION_ID = 0x454D4C4A

# Bodies have tables of their own, because SQLite rewrites a whole row when one of its columns changes.
VERSION_1 = """
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_s REAL NOT NULL,
    finished_s REAL,
    size_bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, key) WHERE key != '';
CREATE INDEX jobs_by_due ON jobs (due_s, sequence) WHERE state = 'accepted';
CREATE INDEX jobs_by_end ON jobs (finished_s) WHERE finished_s IS NOT NULL;
CREATE TABLE requests (sequence INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE results (sequence INTEGER PRIMARY KEY, status INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE totals (size_bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0);
"""

# Results are pushed to a sink, and a failure has a cause.
VERSION_2 = """
ALTER TABLE jobs ADD COLUMN push_due_s REAL;
ALTER TABLE jobs ADD COLUMN push_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE results ADD COLUMN cause TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_by_push ON jobs (push_due_s) WHERE push_due_s IS NOT NULL;
"""

VERSIONS = (VERSION_1, VERSION_2)


def upgrade(connection: sqlite3.Connection, name: str) -> None:
    """Create the tables, or upgrade those of an older version, in one transaction.

    Raise JournalError if the file belongs to another program or to a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise JournalError(f"--journal must be a new file or a journal, got the database of another program: {name}")
    if version > len(VERSIONS):
        raise JournalError(
            f"--journal must have a schema version of at most {len(VERSIONS)}, got {version}: {name} was written by a"
            " newer dispatcher"
        )
    script = "".join(VERSIONS[version:])
    connection.executescript(
        f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {len(VERSIONS)}; COMMIT;"
    )

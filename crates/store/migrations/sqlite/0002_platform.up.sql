-- Who owns rows. The token's subject is the only thing that a login brings; role and status are decided here.
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    sub TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('consumer', 'contributor', 'admin')),
    status TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX users_role ON users (role, id);

-- Only the hash of a key is kept: SHA-256 of a secret of 256 random bits needs no salt and no stretching.
CREATE TABLE api_keys (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    owner_id INTEGER NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE INDEX api_keys_owner ON api_keys (owner_id, id);

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    state_before TEXT,
    state_after TEXT,
    reason TEXT NOT NULL,
    request_id TEXT
) STRICT;
CREATE INDEX audit_log_target ON audit_log (target, id);
CREATE INDEX audit_log_request ON audit_log (request_id) WHERE request_id IS NOT NULL;
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- REPLACE deletes without firing delete triggers unless recursive_triggers is on.
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TABLE uploads (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    owner_id INTEGER NOT NULL REFERENCES users (id),
    status TEXT NOT NULL CHECK (status IN ('pending', 'stored', 'rejected', 'expired')),
    purpose TEXT NOT NULL,
    filename TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    -- announced until it is stored, then that of the bytes
    sha256 TEXT,
    object_key TEXT NOT NULL UNIQUE,
    -- the version of the object that was verified
    etag TEXT,
    detected_type TEXT,
    problem TEXT,
    created_at INTEGER NOT NULL,
    -- of the URL
    expires_at INTEGER NOT NULL,
    -- the latest time at which it may still be completed
    complete_by INTEGER NOT NULL,
    ended_at INTEGER,
    object_deleted_at INTEGER,
    CHECK ((status = 'pending') = (ended_at IS NULL)),
    CHECK (status <> 'stored' OR (sha256 IS NOT NULL AND detected_type IS NOT NULL))
) STRICT;
CREATE INDEX uploads_owner ON uploads (owner_id, id);
CREATE INDEX uploads_pending ON uploads (complete_by) WHERE status = 'pending';
CREATE INDEX uploads_dead ON uploads (ended_at) WHERE status IN ('rejected', 'expired') AND object_deleted_at IS NULL;

-- One counter a (resource, kind): the last version given out, which is the latest artifact, as its row is in the same
-- transaction.
CREATE TABLE artifact_series (
    owner_id INTEGER NOT NULL,
    resource TEXT NOT NULL,
    kind TEXT NOT NULL,
    latest INTEGER NOT NULL CHECK (latest >= 1),
    PRIMARY KEY (owner_id, resource, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    owner_id INTEGER NOT NULL,
    job_seq INTEGER NOT NULL,
    job_id BLOB NOT NULL CHECK (length(job_id) = 16),
    resource TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    filename TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    sha256 TEXT NOT NULL,
    object_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (owner_id, resource, kind, version)
) STRICT;
CREATE INDEX artifacts_job ON artifacts (job_seq);
CREATE INDEX artifacts_object ON artifacts (object_key);
CREATE INDEX artifacts_expiry ON artifacts (expires_at);

-- Sums of the ledger, made in the background up to the watermark; never by the transaction that settles a call.
CREATE TABLE ledger_rollups (
    owner_id INTEGER NOT NULL,
    workload TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    day TEXT NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (owner_id, workload, kind, model, day)
) STRICT, WITHOUT ROWID;

-- Of a job and all its descendants.
CREATE TABLE job_rollups (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL
) STRICT;

-- One row: every ledger row up to it is in the sums.
CREATE TABLE ledger_watermark (
    one INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO ledger_watermark (one, seq) VALUES (1, 0);

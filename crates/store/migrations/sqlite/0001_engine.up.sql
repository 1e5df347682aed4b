-- The engine. What is hot is narrow: rows move from `ready` to `running` to `runs`, and `jobs` is not touched by it.
-- Times are microseconds since 1970 UTC, money is pico-USD, enums are texts with a CHECK. No foreign keys: the tests and a
-- nightly check prove what they would have proved.

-- One row a job, written at submit and by a person's own acts; never by a claim or a completion.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    owner_id INTEGER NOT NULL,
    workload TEXT NOT NULL,
    spec TEXT NOT NULL,
    spec_version INTEGER NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 2),
    run_at INTEGER NOT NULL,
    parent_seq INTEGER,
    child_key TEXT,
    budget_id BLOB,
    idempotency_key TEXT,
    request_hash BLOB,
    request_id TEXT,
    trace_id TEXT,
    webhook_url TEXT,
    created_at INTEGER NOT NULL,
    needs_approval INTEGER NOT NULL CHECK (needs_approval IN (0, 1)),
    approved_at INTEGER,
    cancel_requested_at INTEGER,
    reopened_run INTEGER NOT NULL DEFAULT 0,
    reopened_at INTEGER,
    discarded_at INTEGER,
    CHECK ((parent_seq IS NULL) = (child_key IS NULL)),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
) STRICT;
CREATE INDEX jobs_owner ON jobs (owner_id, seq);
CREATE UNIQUE INDEX jobs_key ON jobs (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_child ON jobs (parent_seq, child_key) WHERE parent_seq IS NOT NULL;
CREATE INDEX jobs_children ON jobs (parent_seq, seq) WHERE parent_seq IS NOT NULL;
CREATE INDEX jobs_unapproved ON jobs (created_at) WHERE needs_approval AND approved_at IS NULL;

-- What may be claimed now. `run` is the number that the next run gets.
CREATE TABLE ready (
    priority INTEGER NOT NULL,
    workload TEXT NOT NULL,
    owner_id INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    job_seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    PRIMARY KEY (priority, workload, owner_id, run_at, job_seq)
) STRICT, WITHOUT ROWID;

-- What is due later, retries too.
CREATE TABLE scheduled (
    run_at INTEGER NOT NULL,
    job_seq INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    workload TEXT NOT NULL,
    owner_id INTEGER NOT NULL,
    run INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    PRIMARY KEY (run_at, job_seq)
) STRICT, WITHOUT ROWID;

-- Deleting a row WHERE job_seq AND run is the completion and the fence.
CREATE TABLE running (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    run INTEGER NOT NULL,
    worker_id INTEGER NOT NULL,
    owner_id INTEGER NOT NULL,
    workload TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lost INTEGER NOT NULL
) STRICT;

-- Inserted once, when the run ends; also for an end without a run (then started_at and worker_id are null).
CREATE TABLE runs (
    job_seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    owner_id INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('completed', 'retried', 'failed', 'budget_exceeded', 'cancelled', 'rejected', 'lost', 'released', 'awaited')),
    worker_id INTEGER,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    -- where the job stands in line for its next run; null when there is none
    retry_at INTEGER,
    attempts INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    class TEXT CHECK (class IN ('transient', 'permanent', 'budget', 'cancelled', 'lost')),
    code TEXT,
    error TEXT,
    user_fault INTEGER NOT NULL DEFAULT FALSE CHECK (user_fault IN (0, 1)),
    dead_letter INTEGER NOT NULL DEFAULT FALSE CHECK (dead_letter IN (0, 1)),
    PRIMARY KEY (job_seq, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_outcome ON runs (owner_id, outcome, job_seq);
CREATE INDEX runs_dead_letters ON runs (job_seq) WHERE dead_letter;

-- A job that made children. `open` counts children that have not ended, and 1 for the parent's own hold.
CREATE TABLE parents (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    open INTEGER NOT NULL CHECK (open >= 0),
    held INTEGER NOT NULL CHECK (held IN (0, 1)),
    dead INTEGER NOT NULL DEFAULT 0,
    -- why unclaimed children are to be ended: a dead sibling, a refused budget, a cancel, the parent's own end
    stopping TEXT CHECK (stopping IN ('dead', 'budget', 'cancel', 'ended')),
    -- children up to this one have been looked at by the stop
    stop_after INTEGER NOT NULL DEFAULT 0,
    stop_done INTEGER NOT NULL DEFAULT FALSE CHECK (stop_done IN (0, 1))
) STRICT;
CREATE INDEX parents_stopping ON parents (job_seq) WHERE stopping IS NOT NULL AND NOT stop_done;

-- Processes that run jobs. `kind` remote: judged by its leases, not by beats.
CREATE TABLE workers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('process', 'remote')),
    state TEXT NOT NULL CHECK (state IN ('live', 'dead', 'left')),
    beat_no INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    registered_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;

-- A remote worker's right to a run, alive while `renewals` grows.
CREATE TABLE leases (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    run INTEGER NOT NULL,
    renewals INTEGER NOT NULL DEFAULT 0
) STRICT;

-- This installation: one row.
CREATE TABLE installation (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL,
    boot_epoch INTEGER NOT NULL
) STRICT;

-- Owners whose jobs no claim takes.
CREATE TABLE disabled_owners (
    owner_id INTEGER NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE budgets (
    id BLOB NOT NULL PRIMARY KEY,
    parent_id BLOB,
    cap INTEGER NOT NULL CHECK (cap >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    closed INTEGER NOT NULL DEFAULT FALSE CHECK (closed IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A model call from its reservation on.
CREATE TABLE calls (
    id BLOB NOT NULL PRIMARY KEY,
    budget_id BLOB NOT NULL,
    job_seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    worst INTEGER NOT NULL CHECK (worst >= 0),
    state TEXT NOT NULL CHECK (state IN ('sent', 'settled', 'unconfirmed', 'released')),
    step TEXT,
    model TEXT,
    -- what it counts for in `spent`
    booked INTEGER NOT NULL DEFAULT 0,
    reserved_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX calls_sent ON calls (job_seq, run) WHERE state = 'sent';
CREATE INDEX calls_job ON calls (job_seq);

-- Answers that were paid for and are not yet covered by a checkpoint.
CREATE TABLE call_journal (
    job_seq INTEGER NOT NULL,
    key TEXT NOT NULL,
    run INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    output TEXT NOT NULL,
    PRIMARY KEY (job_seq, key)
) STRICT, WITHOUT ROWID;

-- What each call cost. Append-only: a correction is a row with the difference.
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    entry TEXT NOT NULL CHECK (entry IN ('settled', 'unconfirmed', 'correction')),
    kind TEXT NOT NULL CHECK (kind IN ('model', 'compute', 'storage')),
    call_id BLOB,
    owner_id INTEGER NOT NULL,
    workload TEXT NOT NULL,
    job_seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    budget_id BLOB,
    step TEXT,
    model TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL,
    price_version TEXT,
    provider_request_id TEXT,
    duration_us INTEGER,
    at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX ledger_call ON ledger (call_id, entry) WHERE call_id IS NOT NULL;
CREATE INDEX ledger_job ON ledger (job_seq, seq);
CREATE INDEX ledger_owner ON ledger (owner_id, seq);
CREATE INDEX ledger_at ON ledger (at);

-- What a run saved so that the next one goes on.
CREATE TABLE checkpoints (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    run INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Objects that hold a range of a job's output.
CREATE TABLE parts (
    job_seq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    key TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    run INTEGER NOT NULL,
    CHECK (first <= last),
    PRIMARY KEY (job_seq, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_key ON parts (key);

-- Chunks of output that were written by a workload's save.
CREATE TABLE saves (
    job_seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (job_seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE results (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    run INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    output TEXT NOT NULL
) STRICT;

CREATE TABLE progress (
    job_seq INTEGER PRIMARY KEY NOT NULL,
    run INTEGER NOT NULL,
    stage TEXT,
    done INTEGER NOT NULL,
    total INTEGER,
    at INTEGER NOT NULL
) STRICT;

-- What can't be derived from the rows above, numbered within the job.
CREATE TABLE events (
    job_seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    owner_id INTEGER NOT NULL,
    run INTEGER NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    trace_id TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (job_seq, n)
) STRICT, WITHOUT ROWID;

-- What is to be told to the outside after a commit: webhooks, doorbells.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    job_seq INTEGER NOT NULL,
    payload TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (topic, due_at);
CREATE INDEX outbox_job ON outbox (job_seq);

-- Status by elimination; the only place that names statuses. It never probes `ready`.
CREATE VIEW job_status AS
SELECT j.seq AS job_seq,
    coalesce(
        (SELECT 'running' FROM running r WHERE r.job_seq = j.seq),
        (SELECT 'waiting' FROM parents p WHERE p.job_seq = j.seq AND NOT p.held),
        (SELECT CASE WHEN l.run > j.reopened_run
                      AND l.outcome IN ('completed', 'failed', 'budget_exceeded', 'cancelled', 'rejected')
                     THEN l.outcome END
           FROM runs l WHERE l.job_seq = j.seq ORDER BY l.run DESC LIMIT 1),
        CASE WHEN j.needs_approval AND j.approved_at IS NULL THEN 'pending_approval' END,
        'queued') AS status
FROM jobs j;

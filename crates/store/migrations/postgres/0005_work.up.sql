-- What runs cost beside their models' calls: worker time, and puts and gets of objects.

-- What counts against a budget beside model calls.
ALTER TABLE budgets ADD COLUMN counts_compute boolean NOT NULL DEFAULT FALSE;
ALTER TABLE budgets ADD COLUMN counts_storage boolean NOT NULL DEFAULT FALSE;

-- Of storage rows.
ALTER TABLE ledger ADD COLUMN puts bigint CHECK (puts >= 0);
ALTER TABLE ledger ADD COLUMN gets bigint CHECK (gets >= 0);

-- What a run that has not ended has put and got so far, where that has a price; its end books it.
CREATE TABLE storage_use (
    job_seq bigint NOT NULL,
    run bigint NOT NULL,
    puts bigint NOT NULL,
    gets bigint NOT NULL,
    PRIMARY KEY (job_seq, run)
);

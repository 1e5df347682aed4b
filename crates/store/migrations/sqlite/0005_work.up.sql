-- What runs cost beside their models' calls: worker time, and puts and gets of objects.

-- What counts against a budget beside model calls.
ALTER TABLE budgets ADD COLUMN counts_compute INTEGER NOT NULL DEFAULT FALSE CHECK (counts_compute IN (0, 1));
ALTER TABLE budgets ADD COLUMN counts_storage INTEGER NOT NULL DEFAULT FALSE CHECK (counts_storage IN (0, 1));

-- Of storage rows.
ALTER TABLE ledger ADD COLUMN puts INTEGER CHECK (puts >= 0);
ALTER TABLE ledger ADD COLUMN gets INTEGER CHECK (gets >= 0);

-- What a run that has not ended has put and got so far, where that has a price; its end books it.
CREATE TABLE storage_use (
    job_seq INTEGER NOT NULL,
    run INTEGER NOT NULL,
    puts INTEGER NOT NULL,
    gets INTEGER NOT NULL,
    PRIMARY KEY (job_seq, run)
) STRICT, WITHOUT ROWID;

DROP TABLE storage_use;
ALTER TABLE ledger DROP COLUMN gets;
ALTER TABLE ledger DROP COLUMN puts;
ALTER TABLE budgets DROP COLUMN counts_storage;
ALTER TABLE budgets DROP COLUMN counts_compute;

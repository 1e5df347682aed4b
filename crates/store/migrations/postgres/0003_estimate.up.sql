-- What a job was expected to cost at submit, where its workload says.
ALTER TABLE jobs ADD COLUMN estimate bigint CHECK (estimate >= 0);

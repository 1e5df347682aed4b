-- What a job was expected to cost at submit, where its workload says.
ALTER TABLE jobs ADD COLUMN estimate INTEGER CHECK (estimate >= 0);

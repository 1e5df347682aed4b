ALTER TABLE jobs RENAME COLUMN traceparent TO trace_id;

-- A job keeps its place in a trace, not only the trace: the span that its runs belong under, and whether that is
-- recorded. The text is that of a `traceparent` (W3C Trace Context); events keep the trace's id alone.
ALTER TABLE jobs RENAME COLUMN trace_id TO traceparent;

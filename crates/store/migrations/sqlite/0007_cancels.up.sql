-- What somebody asked to cancel lately, for whoever runs thousands of jobs and asks twice a second.
CREATE INDEX jobs_cancels ON jobs (cancel_requested_at) WHERE cancel_requested_at IS NOT NULL;

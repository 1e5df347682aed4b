DROP INDEX jobs_cancels;

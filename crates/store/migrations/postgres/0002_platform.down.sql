DROP TABLE artifacts;
DROP TABLE artifact_series;
DROP TABLE uploads;
DROP TABLE audit_log;
DROP FUNCTION refuse_audit_change();
DROP TABLE api_keys;
DROP TABLE users;

DROP TABLE artifacts;
DROP TABLE artifact_series;
DROP TABLE uploads;
DROP TABLE audit_log;
DROP TABLE api_keys;
DROP TABLE users;

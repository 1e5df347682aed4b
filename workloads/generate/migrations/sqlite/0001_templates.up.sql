-- Prompt templates: a head that can change (visibility, latest version) and versions that never do.
CREATE TABLE generate_templates (
    id BLOB NOT NULL PRIMARY KEY,
    owner_id INTEGER NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'public')),
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    latest INTEGER NOT NULL CHECK (latest >= 1),
    -- `name@version` of what it was forked from
    forked_from TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX generate_templates_name ON generate_templates (owner_id, name) WHERE deleted_at IS NULL;
CREATE INDEX generate_templates_public ON generate_templates (name, created_at) WHERE deleted_at IS NULL AND visibility = 'public';

CREATE TABLE generate_template_versions (
    template_id BLOB NOT NULL REFERENCES generate_templates (id),
    version INTEGER NOT NULL CHECK (version >= 1),
    -- as the user wrote it: YAML or JSON
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (template_id, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER generate_template_versions_immutable BEFORE UPDATE ON generate_template_versions
BEGIN
    SELECT raise(ABORT, 'template versions never change');
END;

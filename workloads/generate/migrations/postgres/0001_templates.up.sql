-- Prompt templates: a head that can change (visibility, latest version) and versions that never do.
CREATE TABLE generate_templates (
    id UUID NOT NULL PRIMARY KEY,
    owner_id BIGINT NOT NULL REFERENCES users (id),
    name TEXT COLLATE "C" NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'public')),
    description TEXT NOT NULL,
    category TEXT NOT NULL,
    latest BIGINT NOT NULL CHECK (latest >= 1),
    -- `name@version` of what it was forked from
    forked_from TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE UNIQUE INDEX generate_templates_name ON generate_templates (owner_id, name) WHERE deleted_at IS NULL;
CREATE INDEX generate_templates_public ON generate_templates (name, created_at) WHERE deleted_at IS NULL AND visibility = 'public';

CREATE TABLE generate_template_versions (
    template_id UUID NOT NULL REFERENCES generate_templates (id),
    version BIGINT NOT NULL CHECK (version >= 1),
    -- as the user wrote it: YAML or JSON
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (template_id, version)
);

CREATE FUNCTION generate_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'template versions never change';
END $$;
CREATE TRIGGER generate_template_versions_immutable BEFORE UPDATE ON generate_template_versions
    FOR EACH ROW EXECUTE FUNCTION generate_refuse_update();

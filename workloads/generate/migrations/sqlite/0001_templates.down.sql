DROP TABLE generate_template_versions;
DROP TABLE generate_templates;

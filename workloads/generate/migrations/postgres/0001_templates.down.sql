DROP TABLE generate_template_versions;
DROP TABLE generate_templates;
DROP FUNCTION generate_refuse_update();

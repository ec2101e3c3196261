"""Named studies, as YAML files."""

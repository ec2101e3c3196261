"""Pipeline stage: measure every checkpoint of finished runs."""

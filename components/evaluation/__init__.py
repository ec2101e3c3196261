"""Pipeline step: measure every checkpoint of finished runs."""

"""Pipeline step: the winning checkpoint becomes the served one."""

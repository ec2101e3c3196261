"""Pipeline stage: the winning checkpoint becomes the served one."""

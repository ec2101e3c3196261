"""Simulated studies with a planted truth, for the calibration tables and their small versions in the tests."""

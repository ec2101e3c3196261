"""Tests on a real Kubernetes API server: `make test-cluster`."""

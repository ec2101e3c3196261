"""What runs on Kubernetes: promotion over KServe, training jobs, and the check of a cluster before a study."""

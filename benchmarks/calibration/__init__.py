"""How often does the analysis err? Simulated studies with a known truth."""

"""What pages and the API read, as records. Every function sees the namespaces that it is given, and no other."""

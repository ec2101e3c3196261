"""KServe model server for checkpoints of both families."""

"""One file per use case. Reaches the operator through a port, the database through pipeline.storage."""

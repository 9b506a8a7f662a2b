"""Everything that knows the operator: hosts, field names, tokens, transports and the one verdict table."""

"""The operator's endpoints, one module per subject. Each offers `ENDPOINTS`; none knows sockets."""

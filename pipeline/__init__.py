"""The product: takes invoices to the operator once and follows them. Knows nothing of Celery, which only rings it."""

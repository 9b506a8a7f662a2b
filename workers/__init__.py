"""The only package that knows Celery: it rings the pipeline and does nothing else."""

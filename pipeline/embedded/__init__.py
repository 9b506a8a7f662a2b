"""The embedded PostgreSQL and Valkey, and the supervisor that keeps the processes of one machine running.

Nothing here knows what an invoice is: servers and workers are command lines with a name.
"""

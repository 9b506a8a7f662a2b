"""Everything that knows SQL. PostgreSQL is the truth; the broker only rings."""

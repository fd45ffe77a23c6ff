"""Health checks and alert history in the Postgres you already have."""

"""The embedded default: Postgres, Valkey and every service as child processes of one supervisor."""

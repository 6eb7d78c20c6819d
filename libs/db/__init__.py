"""Postgres: pools, named queries, migrations, and which errors mean the connection is gone."""

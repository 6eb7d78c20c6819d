"""Everything risk keeps in Postgres: `database` speaks SQL, `rows` maps rows to domain types."""

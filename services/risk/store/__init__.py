"""Everything risk keeps in Postgres: `database` speaks SQL, `rows` turns rows into domain types and back."""

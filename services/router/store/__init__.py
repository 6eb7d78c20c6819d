"""Everything the router keeps in Postgres: `database` speaks SQL, `plan_archive` writes plans small."""

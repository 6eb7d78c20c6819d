"""What alembic runs for every service: the versions, on the connection `libs.db.migrate` opened.

The transaction is that connection's, and logging is the process's; nothing is configured here.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()

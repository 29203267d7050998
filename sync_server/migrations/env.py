"""Alembic runs the migrations inside the transaction that `sync_server.sql_store` hands over."""

from alembic import context

from sync_server.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()

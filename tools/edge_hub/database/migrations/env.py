"""What Alembic runs: the migrations, on the connection that `edge_hub.database.migrate` gives."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=False,
    transaction_per_migration=False,
)
context.run_migrations()

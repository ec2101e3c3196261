"""Alembic's entry point: always online, on the connection that `crossover.registry.database` hands over."""

from alembic import context

from crossover.registry.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()

"""`crossover registry upgrade` and `crossover registry query`."""

from __future__ import annotations

import argparse

from crossover.commands.command_options import registry_of
from crossover.registry import Registry
from crossover.registry import upgrade as upgrade_registry
from crossover.registry.table_format import format_table, table_json


def upgrade(options: argparse.Namespace) -> int:
    """Migrate a registry to this version's schema."""
    before, after = upgrade_registry(registry_of(options))
    print(f"already at {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")
    return 0


def query(options: argparse.Namespace) -> int:
    """Print the result of one SELECT."""
    with Registry.open_read_only(registry_of(options)) as registry:
        result = registry.query(options.sql, limit=options.limit)
    print(table_json(result) if options.json else format_table(result))
    return 0

"""`crossover registry upgrade` and `crossover registry query`."""

from __future__ import annotations

import argparse

from crossover.commands.command_options import registry_of
from crossover.registry import Registry
from crossover.registry import upgrade as upgrade_registry
from crossover.registry.table_format import format_table, table_json


def upgrade(options: argparse.Namespace) -> int:
    """Migrate to this version's schema."""
    before, after = upgrade_registry(registry_of(options))
    print(f"already at {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")
    return 0


def query(options: argparse.Namespace) -> int:
    """Run one read-only statement."""
    with Registry.open(registry_of(options)) as registry:
        table = registry.query(options.sql, limit=options.limit)
    print(table_json(table) if options.json else format_table(table))
    return 0

"""`crossover registry upgrade`, `crossover registry query` and `crossover registry serve`."""

from __future__ import annotations

import argparse
import runpy
import sys

from crossover.commands.command_options import registry_of
from crossover.errors import RegistryError
from crossover.registry import open_to_read
from crossover.registry import upgrade as upgrade_registry
from crossover.registry.table_format import format_table, table_csv, table_json


def upgrade(options: argparse.Namespace) -> int:
    """Migrate a registry to this version's schema."""
    before, after = upgrade_registry(registry_of(options))
    print(f"already at {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")
    return 0


def serve(options: argparse.Namespace) -> int:
    """Become the service, which is a program of its own; it handles signals, and its exit code is the command's."""
    sys.argv = ["crossover registry serve", *options.arguments]
    runpy.run_module("crossover_services.registry", run_name="__main__")
    return 0


def query(options: argparse.Namespace) -> int:
    """Print the result of one SELECT, and beside it when rows were left out.

    Raises:
        RegistryError: the registry or the statement cannot be read, or the limit is not positive.
    """
    if options.limit < 1:
        problem = f"{options.limit} rows show nothing"
        raise RegistryError("registry.bad-limit", field="--limit", problem=problem, remedy="give 1 or more")
    with open_to_read(registry_of(options)) as registry:
        result = registry.query(options.sql, limit=options.limit)
    formats = {"table": format_table, "json": table_json, "csv": table_csv}
    print(formats["json" if options.json else options.format](result))
    if result.truncated:
        print(f"crossover: rows beyond the first {options.limit} are left out: raise --limit", file=sys.stderr)
    return 0

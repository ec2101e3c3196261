"""Pipeline step: curves become verdicts, a report and a decision."""

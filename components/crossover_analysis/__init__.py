"""Pipeline stage: curves become verdicts, a report and a decision."""

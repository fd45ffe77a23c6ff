"""The long-running process: schedule, probe, record, tidy."""

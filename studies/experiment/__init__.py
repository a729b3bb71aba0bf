"""One experiment: its settings and their checks, its task, environment and agent."""

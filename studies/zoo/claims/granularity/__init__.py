"""Claims about granularity and density: what an action is, and when it is paid."""

"""Claims about learning from episodes of other policies."""

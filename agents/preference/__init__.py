"""Learning from comparisons of responses: losses, data and agents."""

"""Who samples the episodes: the policy, a distorted or an earlier one, or another program."""

"""What an untrained critic does to the first updates of PPO, and what mends it."""

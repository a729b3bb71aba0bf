"""Claims about rewards that are learned, and about choosing the best of n."""

"""Claims about critics and lambda."""

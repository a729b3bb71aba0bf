"""How early signals of reward hacking speak, and how often without a reason."""

"""How well a reward model agrees with feedback."""

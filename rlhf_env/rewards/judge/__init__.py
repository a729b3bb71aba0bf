"""Language models that are asked for a score or a preference."""

"""Language models that judge responses by a score or a preference."""

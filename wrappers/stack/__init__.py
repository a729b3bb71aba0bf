"""What all wrappers share: which may be inside which, and the rows of a vector environment."""

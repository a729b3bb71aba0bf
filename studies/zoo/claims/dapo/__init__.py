"""Claims about the parts of DAPO."""

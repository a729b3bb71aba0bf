"""How episodes are collected, and what is read from them."""

"""The learning rules, and what their mathematics is made of."""

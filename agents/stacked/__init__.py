"""Several agents trained as one: their weights side by side, their episodes one batch.

Each stays an ordinary agent that shares its weights with the stack, so that it can be evaluated,
saved or trained on alone at any time. Only the arithmetic is batched, in the order in which each
agent alone would do it: for tables the numbers are the same to the last bit.
"""

"""Evaluation of policies: scores, KL and text statistics."""

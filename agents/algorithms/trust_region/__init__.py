"""The natural gradient within a bound on the KL: what TRPO is made of."""

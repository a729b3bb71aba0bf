"""The checks of `rlhf_env.testing` that need agents; call them from there."""

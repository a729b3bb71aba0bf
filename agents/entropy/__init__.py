"""Control of a policy's entropy: an adaptive bonus, and decisions that would cost much of it."""

"""Critics: values by continuations, how far they are from the truth, and where they come from."""

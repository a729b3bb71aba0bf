"""Games with computed rewards and small language models: countdown, guess and reverse."""

"""Old episodes to learn from again: the buffer, what is drawn from it, its files."""

"""From files and texts to token ids."""

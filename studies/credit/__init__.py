"""Which credit assignments find the tokens that earned the score."""

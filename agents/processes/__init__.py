"""Several processes that train one agent: how many there are, and what they tell each other."""

"""What a run trains on: a built-in task, one of a family, or the user's own."""

"""People's feedback: records, and the files that they come in."""

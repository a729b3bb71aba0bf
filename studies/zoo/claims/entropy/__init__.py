"""Claims about entropy and what it is spent on."""

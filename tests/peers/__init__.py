"""The same numbers as other libraries, where these are installed."""

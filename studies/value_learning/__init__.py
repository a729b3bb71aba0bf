"""Where value-based and path methods end up, and how many fresh episodes old ones save."""

"""Episodes on disk: the record of one, how it is collected, and how it is replayed."""

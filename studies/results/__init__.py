"""The files that commands write: folders, records and tables."""

"""The files that commands leave behind: folders, records and tables."""

"""The command line: one frame for all commands, and the commands."""

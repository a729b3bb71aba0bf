"""The command ``check``: conformance checks of what a name stands for."""

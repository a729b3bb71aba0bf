"""The claims, one a file; the folders are themes. `docs/zoo.md` says how to add one."""

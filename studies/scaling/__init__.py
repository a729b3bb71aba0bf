"""How the episodes that agents need grow with the horizon."""

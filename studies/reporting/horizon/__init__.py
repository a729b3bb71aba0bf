"""The map of horizons: how learning changes as the responses of a family's tasks get longer."""

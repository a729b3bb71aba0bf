"""Actions of several tokens: where they end, their action space, and several steps as one."""

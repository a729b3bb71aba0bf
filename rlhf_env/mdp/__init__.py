"""The Markov decision process of the environments: options, spaces, steps, reward terms."""

"""The Markov decision process behind the environments: options, spaces, steps, reward terms."""

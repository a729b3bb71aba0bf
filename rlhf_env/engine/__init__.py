"""How a language model computes: key/value cache, packed passes, projection, sampling."""

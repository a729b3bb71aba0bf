"""Decoding on a GPU: side by side, and with CUDA graphs."""

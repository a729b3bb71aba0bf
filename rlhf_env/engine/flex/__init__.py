"""Packed texts on a GPU: one call of PyTorch's flex attention a layer."""

"""Rigid motions and interaction matrices: pure functions of tensors of any batch shape."""

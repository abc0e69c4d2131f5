"""Rigid motions and interaction matrices: pure functions on plain tensors, any leading batch
shape.
"""

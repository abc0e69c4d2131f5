"""Starts, conditions and metrics, which `servo`, `learn` and `bench` share."""

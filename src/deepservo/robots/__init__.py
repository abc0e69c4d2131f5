"""Worlds with joints and motors."""

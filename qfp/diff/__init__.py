"""Differential test."""

"""Measures of videos, and the tables made with them."""

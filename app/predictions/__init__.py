"""Rows in, outputs out: what is asked, computed together, and answered."""

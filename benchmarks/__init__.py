"""Benchmarks. `scripts/bench` lists and runs them; their figures are in docs/benchmarks.md."""

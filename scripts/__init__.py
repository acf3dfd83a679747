"""Commands of the repository (shell), and the generators behind them (Python)."""

"""What benchmarks have in common: workloads, peers, statistics, memory limits."""

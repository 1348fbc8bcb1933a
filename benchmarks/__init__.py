"""Speed, memory and strength, measured in ratios within one run: `python -m benchmarks`."""

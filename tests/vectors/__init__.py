"""Test data of this project's own making: one list of vectors for each format, read by tests and benchmarks alike."""

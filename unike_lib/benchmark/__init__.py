"""The benchmark: MMEdit files read, validated, checked for leaks and split."""

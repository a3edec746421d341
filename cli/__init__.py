"""The command line: options, generation, comparison."""

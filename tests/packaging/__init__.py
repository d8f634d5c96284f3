"""What is built and installed: with the C core, and where it can't be had."""

"""The built and installed package: with the C core, and where it can't be built."""

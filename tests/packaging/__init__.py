"""The built and installed package, with the C core and where the core cannot be built."""

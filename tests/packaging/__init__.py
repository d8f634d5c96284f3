"""The built and installed package, with the C core and without it where the core cannot be built."""

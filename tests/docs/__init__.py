"""README and docs: their commands and code run, and their statements about the code are true."""

"""Both scans on tables made by the test: which tasks may be claimed, in which order, and at what cost."""

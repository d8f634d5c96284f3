"""Both scans on hand-made tables: which tasks may be claimed, in which order, and at what cost."""

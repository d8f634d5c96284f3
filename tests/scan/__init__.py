"""What may be claimed, in which order, and at what cost: both scans, on tables made by hand."""

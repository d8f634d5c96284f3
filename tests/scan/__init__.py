"""Tests of both scans on tables that the tests make: the tasks that may be claimed, their order, and the cost of a
scan."""

"""The operations of a store: functions that run in one open transaction, with checked arguments."""

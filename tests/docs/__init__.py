"""README and docs: what they tell a reader to run runs, and what they say of the code is so."""

"""The files of a store on the disk: where they may be, whether they are still the same, copies, and reserved room."""

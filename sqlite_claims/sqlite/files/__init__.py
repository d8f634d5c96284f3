"""The files of a store on the disk: checks of their place, recognition of copies, side files, and reserved space."""

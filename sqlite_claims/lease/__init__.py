"""What a lease rests on: clocks, and the kernel-held locks that tell whether a worker lives."""

"""Worker sessions: locks held by the kernel that show whether a worker's process is alive."""

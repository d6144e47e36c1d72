"""Floor 3: the only modules that use devices, files, sockets and external libraries."""

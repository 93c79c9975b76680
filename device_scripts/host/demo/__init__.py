"""What `make demo` shows: the toolchain's whole way on one screen."""

"""Pictures that move: files, cameras, windows, and the threads between them."""

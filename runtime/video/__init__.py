"""Moving pictures: video files, cameras, windows, and the threads between them."""

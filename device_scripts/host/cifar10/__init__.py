"""`make cifar10`: CIFAR-10's own archives as zips in the ImageFolder layout."""

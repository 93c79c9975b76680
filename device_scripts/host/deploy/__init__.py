"""Has a bundle run on a Jetson, by ssh: copied, installed, built, checked, its reports fetched."""

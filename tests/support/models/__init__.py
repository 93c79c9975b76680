"""Small models and bundles of them."""

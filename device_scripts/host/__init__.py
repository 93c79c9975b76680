"""What runs on the developer's machine: benchmarks, bundles, deployment."""

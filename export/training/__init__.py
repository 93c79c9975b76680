"""Training of the shipped networks, by one recipe for all."""

"""A seeded simulation: the product's own classes on a simulated broker, database and clock, against a simple model."""

"""A run in the shapes that people and other tools read: one module a shape, each a function of the run."""

"""The motions that ship with the project (demo/), and where a user's data sets go."""

"""The page for a model that reads and writes any modality."""

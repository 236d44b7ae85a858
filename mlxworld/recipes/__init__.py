"""How each family is trained: its stages, data and samples, one file a family with a class `Recipe`."""

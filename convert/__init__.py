"""Ways out of the house: Core ML and Core AI packages, and weights in other projects' formats."""

"""What single steps of a statement's way through the proxy cost: ``make micro``."""

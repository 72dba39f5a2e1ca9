"""`init`: ask, try, and write a first configuration."""

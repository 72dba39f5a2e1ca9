"""The pages of docs/reference, one module each. Every page is made from the code alone."""

"""The import that notebooks know; grows its face later."""

"""The promises to the user."""

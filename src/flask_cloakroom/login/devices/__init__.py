"""The logins of a user on all devices: list, watch and end them."""

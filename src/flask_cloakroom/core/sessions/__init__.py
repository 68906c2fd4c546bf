"""Sessions and remembered logins in a store: load, commit, rotate, list and end them."""

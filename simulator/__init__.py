"""A Maventa of our own, written from its published contract. Imports nothing of the product."""

"""The HTTP interface of the product."""

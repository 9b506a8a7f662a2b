"""The same work by other libraries, each used as its own documentation shows. They import nothing of the product."""

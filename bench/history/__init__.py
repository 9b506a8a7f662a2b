"""A seeded history of invoices, written straight into the tables: years of sending in minutes.

shape.py knows who sends how much and what became of it, layout.py which table keeps what, writing.py how it gets there.
"""

"""What stays flat while the history grows: every part of the line measured beside 1e4 to 1e7 invoices of the past."""

"""The command `postiljon`: reads options, calls one service, prints for people or as JSON. Decides nothing."""

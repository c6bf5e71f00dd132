"""The doors: one folder for each protocol. An edge is handed callables and decides nothing."""

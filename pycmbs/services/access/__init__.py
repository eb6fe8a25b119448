"""Who may do what: users and their credentials, roles and rules. Other services ask here, and nothing here asks them."""

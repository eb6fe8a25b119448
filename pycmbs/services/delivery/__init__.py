"""Messages on their way: whom they are for, what is owed to whom, what came in, and how long it is kept."""

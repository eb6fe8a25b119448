"""Messages on their way: recipients, outbox, inbox and retention."""

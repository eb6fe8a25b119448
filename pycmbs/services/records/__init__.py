"""What is stored: types of documents, their ids and keys, and how a write that lost a race is retried."""

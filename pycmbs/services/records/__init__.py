"""What is stored: under which ids and keys, as what documents, and how a write that lost a race is tried again."""

"""The store in a CouchDB database."""

"""pyCMBS: a federated message broker for management traffic between clouds, sites and machines."""

__version__ = "0.4.0"

"""The federation as this broker knows it: members, gossip, departures and health."""

"""Rings of keys for the tests: what each knows, the test says."""

from nacl.public import PrivateKey

from pycmbs.errors import UnknownKey


class Ring:
    """A :class:`~pycmbs.transport.base.Keyring` with a pair of keys of its own."""

    def __init__(self, name=""):
        pair = PrivateKey.generate()
        self.name, self.public, self.secret = name, bytes(pair.public_key), bytes(pair)
        self.known: dict[bytes, str] = {}

    def knows(self, *others):
        """Have it know these, and no one else."""
        self.known = {other.public: other.name for other in others}
        return self

    def plain_at(self, url):
        return False

    def socket_at(self, url, key):
        return url

    def who(self, key):
        return self.name if key == self.public else self.known.get(key)

    def key_at(self, url, member):
        for key, name in self.known.items():
            if name == member:
                return key
        if member == self.name:
            return self.public
        raise UnknownKey(f"the key of {member} at {url} is not known")


def acquainted(*names):
    """Rings that know each other."""
    rings = [Ring(name) for name in names]
    return [one.knows(*(other for other in rings if other is not one)) for one in rings]

"""The federation as this broker knows it: its members, who told what of whom, who left, and how they are doing."""

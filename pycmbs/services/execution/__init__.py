"""Operations in messages of other members: which are allowed, and that each is done once in effect."""

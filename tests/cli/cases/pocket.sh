# Real weights: the pocket models.
q check "$POCKET/pocket-base" "$POCKET/pocket-prose" "$POCKET/pocket-code" | sed "s|$POCKET|POCKET|g"

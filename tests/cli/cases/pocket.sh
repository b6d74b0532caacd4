# Real weights: the pocket models, and the packs that they come from.
q check "$POCKET/pocket-base" "$POCKET/pocket-prose" "$POCKET/pocket-code" | sed "s|$POCKET|POCKET|g"
q check "$PACKS"/*.qpk | sed "s|$PACKS|PACKS|g"
ties=(--method ties --param "weight=0.5" --param "density=0.5" --dtype bfloat16)
must merge "${ties[@]}" --base "$POCKET/pocket-base" --model "$POCKET/pocket-code" --model "$POCKET/pocket-prose" plain.safetensors
must merge "${ties[@]}" --base "$PACKS/pocket-base.qpk" --model "$PACKS/pocket-code.qpk" --model "$PACKS/pocket-prose.qpk" packed.safetensors
same plain.safetensors packed.safetensors

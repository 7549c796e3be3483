"""Training a backbone on unlabelled cells with iBOT (Zhou et al., ICLR 2022, arXiv:2111.07832).

The mathematics has a room each: `schedules`, `masking` (numpy only); `heads`, `losses`, `centring`,
`sinkhorn`, `positions`, `packing`, `masked_vit`, `ibot`, `optim`, `distributed` (torch and timm). Nothing
here is imported until asked for.

Words: K prototypes, B images, G global and L local crops an image, N patches a global crop, P masked patches
in a batch. Batches of crops are crop-major: crop 0 of all images, then crop 1 of all images, and so on.
"""

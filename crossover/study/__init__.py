"""The study: what is asked, by which arms, and the digests that name what each part of it decides."""

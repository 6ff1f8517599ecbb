"""By what endings of their names, in lower case, files are known as photos."""

#: Of raw files with a picture inside.
RAW_ENDINGS = frozenset(
    {".dng", ".cr2", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".pef", ".srw", ".raf", ".rw2", ".orf"}
)
#: Of all that a folder is searched for.
PHOTO_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".mpo", ".png", ".webp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
    | RAW_ENDINGS
)

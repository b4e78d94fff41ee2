"""The formats of uploads, a file each. A file registers its format when it is imported; FORMATS imports all of them."""
